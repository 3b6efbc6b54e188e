"""A run as its folder records it, and its network on validation and training images.

The test set is never used. Shape letters: N images, B batch, Q queries, M neighbours, F units of a
layer or filters, S side, K classes.
"""

import contextlib
import copy
import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from alexnet_cli.console import note
from alexnet_cli.data.arrays import ImageSource, iterate_images
from alexnet_cli.data.run_images import (
    find_images_folder,
    find_record,
    find_run_images,
    find_training_data,
)
from alexnet_cli.errors import CheckpointError, DataError, TrainingError, UsageError
from alexnet_cli.evaluation.measure import predict_probabilities
from alexnet_cli.evaluation.metrics import Evaluation, summarise
from alexnet_cli.image import crop_centre
from alexnet_cli.manifest import Manifest, data_name, public_settings, without_folders
from alexnet_cli.models.build import PixelNetwork, first_filters, torch_logits
from alexnet_cli.report.grad_cam import Evidence, find_evidence
from alexnet_cli.run_folder import RunFolder, suggest_run
from alexnet_cli.training.checkpoint import (
    STATE_FILE,
    Checkpoint,
    EpochRow,
    best_checkpoint,
    newest_checkpoint,
)
from alexnet_cli.training.open_model import rebuild_model

NUM_QUERIES, NUM_NEIGHBOURS = 5, 6
_NUM_MISTAKES, _NUM_EXAMPLES = 24, 8
DRAW_SEED = 2012  # of every draw: no image is picked by hand
_LARGE_CROP_PX = 64  # larger crops take smaller batches and a shorter search

OnBatch = Callable[[int], None]
"""Called with the number of images after each batch."""

Progress = Callable[[str, int, int], None]
"""Called with a task, its number of images, and the number of images just done."""


@dataclass(frozen=True)
class RunRecord:
    """A run with at least one epoch."""

    run: RunFolder
    best: Checkpoint  # the checkpoint with the best validation top-1
    history: tuple[EpochRow, ...]  # the completed epochs
    command: str  # "" if it was not recorded

    @property
    def name(self) -> str:
        return self.run.path.absolute().name

    @property
    def public_path(self) -> Path:
        return Path(without_folders(str(self.run.path)))

    @property
    def public_settings(self) -> dict[str, Any]:
        return public_settings(self.best.config)

    @property
    def manifest(self) -> Manifest:
        return self.best.manifest

    @property
    def seconds(self) -> float:
        return sum(row.train_seconds + row.val_seconds for row in self.history)


def read_run(path: Path, *, warn: Callable[[str], None] = lambda _: None) -> RunRecord:
    """Read a run that has completed an epoch, finished or not.

    `warn` is called with a message if a damaged checkpoint is skipped.

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
            hint=suggest_run(path, hint="name a folder in runs/, or train one with: alexnet train"),
            code="checkpoint_missing",
        )
    history = newest_checkpoint(run.checkpoints).state.history
    if not history:
        raise CheckpointError(
            f"the run {path} has not completed an epoch yet",
            hint=f"resume it with: {run.resume_command}",
            code="no_epoch",
        )
    best = best_checkpoint(run.checkpoints, warn=warn)
    return RunRecord(run, best, history, _read_command(run.environment))


def _read_command(path: Path) -> str:
    if not path.is_file():
        return ""
    reason = "it is not an object whose command is a list of strings"
    try:
        document = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        document, reason = None, str(error)
    match document:
        case {"command": [*command]} if all(isinstance(each, str) for each in command):
            return shlex.join(map(_public_argument, command))
        case {**entries} if "command" not in entries:
            return ""
    raise CheckpointError(
        f"{path} is damaged ({reason})",
        hint=f"the report does not need it: rm {shlex.quote(str(path))}",
        code="run_damaged",
    )


def _public_argument(argument: str) -> str:
    """Return an argument of a command line, a path without its folders."""
    is_flag = argument.startswith("-")
    flag, sign, value = argument.partition("=") if is_flag else ("", "", argument)
    return f"{flag}{sign}{without_folders(value)}"


def load_images_of(record: RunRecord, data: str | None = None) -> tuple[ImageSource, ImageSource]:
    """Return the training and validation images of a run; `data` is where they are now.

    Raises:
        DataError: They are gone, or it is not known which of them were held out.
    """
    origin, run = record.manifest.provenance, record.run
    name = data_name(data) if data else find_training_data(run.path, origin)
    command = f"alexnet report {shlex.quote(str(run.path))}"
    try:
        dataset = find_images_folder(name, command)
        found = find_record(run.path, origin, data=name)
        images = find_run_images(run.path, origin, dataset, found)
    except (DataError, UsageError) as error:
        raise DataError(
            f"the images of the run {run.path}: {error.message}", hint=error.hint, code=error.code
        ) from error
    if dataset.classes != record.manifest.classes:
        raise DataError(
            f"{dataset.name} has other classes than the run {run.path}",
            hint=f"name its images: {command} --data FOLDER",
            code="images_differ",
        )
    if images.num_missing or images.num_new:
        note(
            f"{dataset.name} has {images.num_new:,} images that the run {run.path} did not have, "
            f"and lacks {images.num_missing:,} of its images"
        )
    return images.train, images.val


@dataclass(frozen=True)
class Examination:
    """A network's answers on the validation images."""

    labels_N: NDArray[np.int64]
    probabilities_NK: NDArray[np.float64]  # of the centre crop, in float32 arithmetic
    summary: Evaluation

    @property
    def predictions_N(self) -> NDArray[np.int64]:  # noqa: N802 - a shape suffix
        return np.asarray(self.probabilities_NK.argmax(axis=1), np.int64)

    @property
    def counts_KK(self) -> NDArray[np.int64]:  # noqa: N802 - a shape suffix
        """Images by true class (rows) and predicted class (columns)."""
        return np.array(self.summary.confusion, np.int64)


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
    """Draw `count` images at random, or all if there are fewer, with the seed `DRAW_SEED`.

    Each independent draw has a `stream` of its own.
    """
    generator = np.random.default_rng([DRAW_SEED, stream])
    chosen: NDArray[np.int64] = generator.permutation(num_images)[:count]
    return chosen


def most_confident(
    examination: Examination, indices_N: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """Return the images whose predictions are most probable, in this order."""
    confidence_N = examination.probabilities_NK[indices_N].max(axis=1)
    chosen: NDArray[np.int64] = indices_N[np.argsort(-confidence_N, kind="stable")[:count]]
    return chosen


def choose_mistakes(examination: Examination) -> NDArray[np.int64]:
    wrong = np.flatnonzero(examination.predictions_N != examination.labels_N)
    return most_confident(examination, wrong, _NUM_MISTAKES)


def draw_examples(examination: Examination) -> NDArray[np.int64]:
    return draw_indices(len(examination.labels_N), _NUM_EXAMPLES, stream=0)


@dataclass(frozen=True)
class Neighbours:
    """Training images that are nearest to validation images in the last hidden layer."""

    queries_Q: NDArray[np.int64]  # validation images
    nearest_QM: NDArray[np.int64]  # training images, the nearest first
    distances_QM: NDArray[np.float64]  # Euclidean
    num_searched: int  # training images compared
    num_units: int  # units F of the layer


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
    spec = manifest.input
    hidden = torch_logits(_without_last_layer(network), device=device, dtype=torch.float32)

    def features(source: ImageSource) -> Iterator[NDArray[np.float64]]:
        """Yield the last hidden layer's output, batch by batch (B, F)."""
        batches = iterate_images(
            source, size_px=spec.image_size_px, batch_size=_batch_size(manifest)
        )
        with contextlib.closing(batches):
            for squares_BHWC in batches:
                crops_BSS3 = np.ascontiguousarray(crop_centre(squares_BHWC, spec.crop_size_px))
                yield hidden(crops_BSS3).astype(np.float64)

    queries_Q = draw_indices(len(val), NUM_QUERIES, stream=1)
    searched = np.sort(draw_indices(len(train), _num_searched(manifest, len(train)), stream=2))
    queries_QF = np.concatenate(list(features(val.take(queries_Q))))
    distances = []
    for features_BF in features(train.take(searched)):
        rows = [np.linalg.norm(features_BF - query_F, axis=1) for query_F in queries_QF]
        distances.append(np.stack(rows))
        on_batch(len(features_BF))
    distances_QN = np.concatenate(distances, axis=1)
    order_QM = np.argsort(distances_QN, axis=1, kind="stable")[:, :NUM_NEIGHBOURS]
    distances_QM = np.take_along_axis(distances_QN, order_QM, axis=1)
    num_units = queries_QF.shape[1]
    return Neighbours(queries_Q, searched[order_QM], distances_QM, len(searched), num_units)


def _without_last_layer(network: PixelNetwork) -> PixelNetwork:
    """Return a copy of a network whose output is that of its last hidden layer."""
    layers = [name for name, each in network.named_modules() if isinstance(each, nn.Linear)]
    headless = copy.deepcopy(network)
    headless.set_submodule(layers[-1], nn.Identity())
    return headless


def _batch_size(manifest: Manifest) -> int:
    return 100 if manifest.input.crop_size_px > _LARGE_CROP_PX else 500


def _num_searched(manifest: Manifest, num_training: int) -> int:
    return min(num_training, 2_000 if manifest.input.crop_size_px > _LARGE_CROP_PX else 10_000)


@dataclass(frozen=True)
class ExaminedRun:
    record: RunRecord
    train: ImageSource
    val: ImageSource
    examination: Examination
    evidence: Mapping[int, Evidence]  # for the predicted class of mistakes and examples
    neighbours: Neighbours
    filters_FSS3: NDArray[np.float32]  # of the first layer


def examine_run(
    record: RunRecord,
    *,
    device: torch.device,
    data: str | None = None,
    on_progress: Progress = lambda *_: None,
) -> ExaminedRun:
    """Run the best network of a run on its validation images, and on training images.

    `data` is where the images are now, if they were moved.
    """
    manifest = record.manifest
    train, val = load_images_of(record, data)
    network = rebuild_model(record.best, device=device)
    examination = examine(
        network, manifest, val, device=device,
        on_batch=lambda count: on_progress(f"validation images of {record.name}", len(val), count),
    )  # fmt: skip
    shown = np.union1d(choose_mistakes(examination), draw_examples(examination))
    squares = val.take(shown).load_images(manifest.input.image_size_px)
    crops = np.ascontiguousarray(crop_centre(squares, manifest.input.crop_size_px))
    found = find_evidence(network, crops, examination.predictions_N[shown], device=device)
    total = _num_searched(manifest, len(train))
    neighbours = find_neighbours(
        network, manifest, val, train, device=device,
        on_batch=lambda count: on_progress(f"training images of {record.name}", total, count),
    )  # fmt: skip
    filters_FSS3 = first_filters(network)
    evidence = dict(zip(shown.tolist(), found, strict=True))
    return ExaminedRun(record, train, val, examination, evidence, neighbours, filters_FSS3)
