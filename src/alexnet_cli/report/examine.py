"""A run as its folder records it, and its network on validation and training images.

The test set is never used.

Shape letters: N images, B batch, Q queries, M neighbours, F units of a layer, K classes.
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
from alexnet_cli.data.prefetch import iterate_images
from alexnet_cli.errors import CheckpointError, TrainingError, UsageError
from alexnet_cli.evaluation.measure import Evaluation, predict_probabilities, summarise
from alexnet_cli.image import crop_centre
from alexnet_cli.manifest import Manifest
from alexnet_cli.models.layers import PixelNetwork, torch_logits
from alexnet_cli.report.plots import Confusion
from alexnet_cli.runs import RunFolder
from alexnet_cli.training.checkpoint import STATE_FILE, Checkpoint, EpochRow
from alexnet_cli.training.open_model import load_network
from alexnet_cli.training.saving import best_checkpoint, newest_checkpoint

NUM_QUERIES, NUM_NEIGHBOURS = 5, 6
DRAW_SEED = 2012  # of every draw: no image is picked by hand
_MAX_SEARCHED, _MAX_SEARCHED_LARGE = 10_000, 2_000  # training images
_BATCH_SIZE, _BATCH_SIZE_LARGE = 500, 100
_LARGE_CROP_PX = 64  # larger crops count as large

OnBatch = Callable[[int], None]
"""Called with the number of images after each batch."""


@dataclass(frozen=True)
class RunRecord:
    """A run with at least one epoch.

    Attributes:
        run: The run folder.
        best: The checkpoint with the best validation top-1.
        history: The completed epochs, at least one.
        environment: Command, versions and hardware; empty if the file is missing.
    """

    run: RunFolder
    best: Checkpoint
    history: tuple[EpochRow, ...]
    environment: dict[str, Any]

    @property
    def name(self) -> str:
        """Name of the run folder."""
        return self.run.path.absolute().name

    @property
    def manifest(self) -> Manifest:
        """Description of the network."""
        return self.best.manifest

    @property
    def seconds(self) -> float:
        """Time of training and validation."""
        return sum(row.train_seconds + row.val_seconds for row in self.history)


def read_run(path: Path, *, warn: Callable[[str], None] = lambda _: None) -> RunRecord:
    """Read a run that has completed an epoch, finished or not.

    Args:
        path: The run folder.
        warn: Called with a message if a damaged checkpoint is skipped.

    Raises:
        CheckpointError: It has no usable checkpoint, or a file is damaged.
        UsageError: It is a checkpoint, not a run.
    """
    run = RunFolder(path)
    if (path / STATE_FILE).is_file():
        folder = path.absolute().parents[1]
        raise UsageError(
            f"{path} is a checkpoint, not a run",
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
            hint=f"resume it with: alexnet train --resume {shlex.quote(str(path))}",
            code="no_epoch",
        )
    best = best_checkpoint(run.checkpoints, warn=warn)
    return RunRecord(run, best, history, _read_environment(run.environment))


def _read_environment(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        document = json.loads(path.read_bytes())
        command = document.get("command", []) if isinstance(document, dict) else None
        if not isinstance(command, list) or not all(isinstance(word, str) for word in command):
            raise TypeError("it is not an object whose command is a list of strings")  # noqa: TRY301
    except (ValueError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error})",
            hint=f"the report does not need it: rm {shlex.quote(str(path))}",
            code="run_damaged",
        ) from error
    return dict(document)


@dataclass(frozen=True)
class Examination:
    """A network's answers on the validation images.

    Attributes:
        labels_N: True classes.
        probabilities_NK: Probability of each class, for the centre crop, in float32 arithmetic.
        summary: Metrics of these answers.
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


def rebuild(checkpoint: Checkpoint, *, device: torch.device) -> PixelNetwork:
    """Return the network of a checkpoint in evaluation mode."""
    torch.backends.cudnn.allow_tf32 = False  # float32 as in the exported model
    network = load_network(checkpoint)
    return PixelNetwork(network, checkpoint.manifest.input).to(device).eval()


def examine(
    network: PixelNetwork,
    manifest: Manifest,
    val: ImageSource,
    *,
    device: torch.device,
    on_batch: OnBatch = lambda _: None,
) -> Examination:
    """Run a network on all validation images.

    Raises:
        TrainingError: An output is not finite.
    """
    probabilities_NK = predict_probabilities(
        torch_logits(network, device=device, dtype=torch.float32),
        val,
        manifest,
        batch_size=_batch_size(manifest),
        on_batch=on_batch,
    )
    if not np.isfinite(probabilities_NK).all():
        raise TrainingError(
            f"outputs of the network trained on {manifest.provenance.data} are not finite",
            hint="train again with a smaller learning rate: alexnet train --learning-rate 0.001",
            code="not_finite",
        )
    summary = summarise(probabilities_NK, val.labels_N, classes=manifest.classes)
    return Examination(val.labels_N, probabilities_NK, summary)


def draw_indices(num_images: int, count: int, *, stream: int) -> NDArray[np.int64]:
    """Draw images at random, with the fixed seed `DRAW_SEED`.

    Args:
        num_images: Number of images to draw from.
        count: Number of images to draw; all of them if there are fewer.
        stream: A number for each independent draw.
    """
    generator = np.random.default_rng([DRAW_SEED, stream])
    chosen: NDArray[np.int64] = generator.permutation(num_images)[:count]
    return chosen


@dataclass(frozen=True)
class Neighbours:
    """Training images that are nearest to validation images in the last hidden layer.

    Attributes:
        queries_Q: Validation images.
        nearest_QM: Training images, the nearest first.
        distances_QM: Euclidean distances.
        num_searched: Training images compared.
        num_units: Units F of the layer.
    """

    queries_Q: NDArray[np.int64]
    nearest_QM: NDArray[np.int64]
    distances_QM: NDArray[np.float64]
    num_searched: int
    num_units: int


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
    queries = draw_indices(len(val), NUM_QUERIES, stream=1)
    searched = np.sort(draw_indices(len(train), num_searched(manifest, len(train)), stream=2))
    with _last_hidden(network, manifest, device) as features_of:
        queries_QF = np.concatenate(list(features_of(val.take(queries))))
        distances = []
        for features_BF in features_of(train.take(searched)):
            rows = [np.linalg.norm(features_BF - query_F, axis=1) for query_F in queries_QF]
            distances.append(np.stack(rows))
            on_batch(len(features_BF))
    distances_QN = np.concatenate(distances, axis=1)
    order_QM = np.argsort(distances_QN, axis=1, kind="stable")[:, :NUM_NEIGHBOURS]
    return Neighbours(
        queries,
        searched[order_QM],
        np.take_along_axis(distances_QN, order_QM, axis=1),
        len(searched),
        queries_QF.shape[1],
    )


@contextlib.contextmanager
def _last_hidden(
    network: PixelNetwork, manifest: Manifest, device: torch.device
) -> Iterator[Callable[[ImageSource], Iterator[NDArray[np.float64]]]]:
    """Provide a function that yields the last hidden layer's output, batch by batch (B, F)."""
    last = [each for each in network.modules() if isinstance(each, nn.Linear)][-1]
    inputs: list[Tensor] = []
    handle = last.register_forward_pre_hook(lambda _module, args: inputs.append(args[0]))
    logits = torch_logits(network, device=device, dtype=torch.float32)
    spec = manifest.input

    def features_of(source: ImageSource) -> Iterator[NDArray[np.float64]]:
        batches = iterate_images(
            source, size_px=spec.image_size_px, batch_size=_batch_size(manifest)
        )
        with contextlib.closing(batches):
            for squares_BHWC in batches:
                logits(np.ascontiguousarray(crop_centre(squares_BHWC, spec.crop_size_px)))
                yield inputs.pop().double().cpu().numpy()

    try:
        yield features_of
    finally:
        handle.remove()


def num_searched(manifest: Manifest, num_training: int) -> int:
    """Return the number of training images that `find_neighbours` compares."""
    return min(num_training, _MAX_SEARCHED_LARGE if _is_large(manifest) else _MAX_SEARCHED)


def _batch_size(manifest: Manifest) -> int:
    return _BATCH_SIZE_LARGE if _is_large(manifest) else _BATCH_SIZE


def _is_large(manifest: Manifest) -> bool:
    return manifest.input.crop_size_px > _LARGE_CROP_PX
