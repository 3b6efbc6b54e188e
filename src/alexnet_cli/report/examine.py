"""What a run folder says of its training.

What a trained network makes of images that it may be shown: never of the test set's.

Shape letters: N images, Q queries, M neighbours, F units of a layer, K classes, S side.
"""

import contextlib
import json
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from alexnet_cli.data.arrays import ImageSource
from alexnet_cli.data.prefetch import squares_in_order
from alexnet_cli.errors import CheckpointError, TrainingError, UsageError
from alexnet_cli.evaluation.measure import Evaluation, predict_probabilities, summarise
from alexnet_cli.image import crop_centre
from alexnet_cli.manifest import Manifest
from alexnet_cli.models.build import build_network
from alexnet_cli.models.layers import PixelNetwork, torch_logits
from alexnet_cli.report.plots import Confusion
from alexnet_cli.runs import RunFolder
from alexnet_cli.training.checkpoint import STATE_FILE, Checkpoint, EpochRow
from alexnet_cli.training.saving import best_checkpoint, newest_checkpoint


@dataclass(frozen=True)
class RunRecord:
    """A run as its newest checkpoint and its `environment.json` record it.

    Attributes:
        run: The run folder.
        best: The checkpoint with the best validation top-1.
        history: The completed epochs, at least one.
        environment: Command, versions and hardware; empty where the file is not there.
    """

    run: RunFolder
    best: Checkpoint
    history: tuple[EpochRow, ...]
    environment: dict[str, Any]

    @property
    def name(self) -> str:
        """What to call the run."""
        return self.run.path.absolute().name

    @property
    def manifest(self) -> Manifest:
        """Of the best checkpoint."""
        return self.best.manifest

    @property
    def num_epochs_planned(self) -> int:
        """Epochs that it was to have, done or not."""
        return int(self.best.config["epochs"])

    @property
    def seconds(self) -> float:
        """Time in training and validation."""
        return sum(row.train_seconds + row.val_seconds for row in self.history)


def read_run(path: Path, *, warn: Callable[[str], None] = lambda _: None) -> RunRecord:
    """Read a run that has completed an epoch, whether it has ended or not.

    Args:
        path: The run folder.
        warn: Called with a message when a checkpoint had to be passed over.

    Raises:
        CheckpointError: It has no usable checkpoint, or a file of it is damaged.
        UsageError: It is no run folder.
    """
    run = RunFolder(path)
    if (path / STATE_FILE).is_file():
        folder = path.absolute().parents[1]
        raise UsageError(
            f"{path} is one checkpoint; a report is of a run",
            hint=f"alexnet report {shlex.quote(str(folder))}",
        )
    if not run.checkpoints.is_dir():
        what = "has no checkpoint yet" if run.config.is_file() else "is not a run folder"
        raise CheckpointError(
            f"{path} {what}",
            hint="name a folder in runs/, or train one with: alexnet train",
            code="checkpoint_missing",
        )
    history = newest_checkpoint(run.checkpoints).state.history
    if not history:
        raise CheckpointError(
            f"the run {path} has not completed an epoch yet",
            hint=f"go on with: alexnet train --resume {shlex.quote(str(path))}",
            code="no_epoch",
        )
    best = best_checkpoint(run.checkpoints, warn=warn)
    return RunRecord(run, best, history, _read_environment(run.environment))


def _read_environment(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        return _checked(json.loads(path.read_bytes()))
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error})",
            hint=f"the report does without it: rm {shlex.quote(str(path))}",
            code="run_damaged",
        ) from error


def _checked(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise TypeError("it is not a JSON object")
    command = document.get("command", [])
    if not isinstance(command, list) or not all(isinstance(word, str) for word in command):
        raise TypeError("its command is not a list of words")
    return document


NUM_EXAMPLES, NUM_QUERIES, NUM_NEIGHBOURS = 8, 5, 6
DRAW_SEED = 2012  # of every draw here: nothing is picked by hand
MOST_SEARCHED, MOST_SEARCHED_LARGE = 10_000, 2_000  # training images
_LARGE_CROP_PX = 64

OnBatch = Callable[[int], None]
"""Called with the number of images after each batch."""


@dataclass(frozen=True)
class Examination:
    """What a network answers on the validation images.

    Attributes:
        labels_N: True classes.
        probabilities_NK: Of each class, centre crop, float32 arithmetic.
        summary: The figures that follow.
    """

    labels_N: NDArray[np.int64]
    probabilities_NK: NDArray[np.float64]
    summary: Evaluation

    @property
    def predictions_N(self) -> NDArray[np.int64]:  # noqa: N802 - a shape suffix
        """The most probable class of each image."""
        predictions: NDArray[np.int64] = self.probabilities_NK.argmax(axis=1)
        return predictions

    @property
    def confusion(self) -> Confusion:
        """Counts by true and predicted class."""
        classes = tuple(row.name for row in self.summary.classes)
        return Confusion(classes, np.array(self.summary.confusion, np.int64))


@dataclass(frozen=True)
class Neighbours:
    """Training images that the last hidden layer sees as near to validation images.

    Attributes:
        queries_Q: Validation images.
        nearest_QM: Training images, the nearest first.
        distances_QM: Euclidean.
        num_searched: Training images compared.
        num_units: Units F of the layer.
    """

    queries_Q: NDArray[np.int64]
    nearest_QM: NDArray[np.int64]
    distances_QM: NDArray[np.float64]
    num_searched: int
    num_units: int


def rebuild(checkpoint: Checkpoint, *, device: torch.device) -> PixelNetwork:
    """Return the network of a checkpoint with its weights, in evaluation mode."""
    network = build_network(checkpoint.manifest.network)
    checkpoint.load_model(network)
    torch.backends.cudnn.allow_tf32 = False  # float32 as in the exported model
    return PixelNetwork(network, checkpoint.manifest.input).to(device).eval()


def examine(
    network: PixelNetwork,
    manifest: Manifest,
    val: ImageSource,
    *,
    device: torch.device,
    on_batch: OnBatch = lambda _: None,
) -> Examination:
    """Run a network over all validation images.

    Raises:
        TrainingError: An answer is not a number.
    """
    probabilities_NK = predict_probabilities(
        torch_logits(network, device=device, dtype=torch.float32),
        val,
        spec=manifest.input,
        batch_size=_batch_size(manifest),
        on_batch=on_batch,
    )
    if not np.isfinite(probabilities_NK).all():
        raise TrainingError(
            f"the network of {manifest.provenance.data} answers with what is not a number",
            hint="train again with a smaller rate: alexnet train --learning-rate 0.001",
            code="not_finite",
        )
    return Examination(
        val.labels_N,
        probabilities_NK,
        summarise(probabilities_NK, val.labels_N, classes=manifest.classes, num_views=1),
    )


def _is_large(manifest: Manifest) -> bool:
    return manifest.input.crop_size_px > _LARGE_CROP_PX


def _batch_size(manifest: Manifest) -> int:
    return 100 if _is_large(manifest) else 500


def drawn(num_images: int, count: int, *, stream: int) -> NDArray[np.int64]:
    """Draw images without a look at them, in the order of the draw.

    Args:
        num_images: How many there are.
        count: How many are wanted; all, where there are fewer.
        stream: Keeps draws apart.
    """
    generator = np.random.default_rng([DRAW_SEED, stream])
    chosen: NDArray[np.int64] = generator.permutation(num_images)[:count]
    return chosen


def find_neighbours(
    network: PixelNetwork,
    manifest: Manifest,
    val: ImageSource,
    train: ImageSource,
    *,
    device: torch.device,
    on_batch: OnBatch = lambda _: None,
) -> Neighbours:
    """Find the training images nearest to some validation images in the last hidden layer.

    Paper, §6.1 and figure 4: "six training images that produce feature vectors in the last hidden
    layer with the smallest Euclidean distance from the feature vector for the test image".
    Here: validation images as queries, because the test set is for `evaluate` alone; and of many
    training images only some are searched, because a report should not take as long as an epoch.
    """
    queries = drawn(len(val), NUM_QUERIES, stream=1)
    searched = np.sort(drawn(len(train), num_searched(manifest, len(train)), stream=2))
    with _last_hidden(network, manifest, device) as features_of:
        wanted_QF = np.concatenate(list(features_of(val.take(queries))))
        parts = []
        for features_BF in features_of(train.take(searched)):
            parts.append(_distances(wanted_QF, features_BF))
            on_batch(len(features_BF))
    distances_QN = np.concatenate(parts, axis=1)
    order_QM = np.argsort(distances_QN, axis=1, kind="stable")[:, :NUM_NEIGHBOURS]
    return Neighbours(
        queries,
        searched[order_QM],
        np.take_along_axis(distances_QN, order_QM, axis=1),
        len(searched),
        wanted_QF.shape[1],
    )


def num_searched(manifest: Manifest, num_training: int) -> int:
    """Return how many training images `find_neighbours` looks at."""
    return min(num_training, MOST_SEARCHED_LARGE if _is_large(manifest) else MOST_SEARCHED)


def _distances(
    wanted_QF: NDArray[np.float64], features_BF: NDArray[np.float64]
) -> NDArray[np.float64]:
    return np.stack([np.linalg.norm(features_BF - row_F, axis=1) for row_F in wanted_QF])


Features = Callable[[ImageSource], Iterator[NDArray[np.float64]]]


@contextlib.contextmanager
def _last_hidden(
    network: PixelNetwork, manifest: Manifest, device: torch.device
) -> Iterator[Features]:
    """Provide what the last fully connected layer is given, batch by batch (B, F)."""
    last = [each for each in network.modules() if isinstance(each, nn.Linear)][-1]
    seen: list[Tensor] = []
    handle = last.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    logits = torch_logits(network, device=device, dtype=torch.float32)
    spec = manifest.input

    def features_of(source: ImageSource) -> Iterator[NDArray[np.float64]]:
        batches = squares_in_order(
            source, size_px=spec.image_size_px, batch_size=_batch_size(manifest)
        )
        with contextlib.closing(batches):
            for squares_BHWC in batches:
                logits(np.ascontiguousarray(crop_centre(squares_BHWC, spec.crop_size_px)))
                yield seen.pop().double().cpu().numpy()

    try:
        yield features_of
    finally:
        handle.remove()
