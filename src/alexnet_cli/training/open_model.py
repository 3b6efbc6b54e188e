"""Models by their path (run, checkpoint or exported file), and images to measure them on."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alexnet_cli.console import note
from alexnet_cli.errors import CheckpointError, UsageError, join_some
from alexnet_cli.evaluation.measure import OpenedModel
from alexnet_cli.manifest import Manifest
from alexnet_cli.runs import RunFolder, named_model, newest_run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from alexnet_cli.data.arrays import ImageSource
    from alexnet_cli.data.datasets import Dataset, Split
    from alexnet_cli.manifest import Provenance
    from alexnet_cli.training.checkpoint import Checkpoint


_EXPORTED = (".onnx", ".safetensors")


def find_checkpoint(path: Path | None, *, data: str | None = None) -> "Checkpoint":
    """Return the best checkpoint of a run (the newest run by default), or the one named.

    Args:
        path: A run folder or a checkpoint folder.
        data: Where no path is given, only runs on this dataset count.

    Raises:
        CheckpointError: There is none there.
    """
    from alexnet_cli.training.saving import chosen_checkpoint

    folder = path or newest_run(data=data).path
    if folder.is_file():
        raise CheckpointError(
            f"{folder} is a file; a run or checkpoint folder is needed",
            hint="leave the path out to take the newest run",
            code="checkpoint_missing",
        )
    if not folder.is_dir():
        raise CheckpointError(
            f"no such run or checkpoint: {folder}",
            hint="name a run folder, or leave the path out to take the newest run",
            code="checkpoint_missing",
        )
    return chosen_checkpoint(folder, warn=note)


def load_network(checkpoint: "Checkpoint") -> "nn.Module":
    """Rebuild the network of a checkpoint, with its weights, on the CPU."""
    from alexnet_cli.models.build import build_network

    network = build_network(checkpoint.manifest.network)
    checkpoint.load_model(network)
    return network


@dataclass(frozen=True)
class Trained:
    """A trained network, rebuilt, to be exported.

    Attributes:
        network: With its weights, on the CPU.
        manifest: Its description.
        label: What to call it.
        folder: Where its exports go by default.
        weights: The exported file it was read from, if it was.
    """

    network: "nn.Module"
    manifest: Manifest
    label: str
    folder: Path
    weights: Path | None = None


def open_trained(path: Path | None, *, data: str | None = None) -> Trained:
    """Rebuild what a path stands for: a run, a checkpoint, exported or downloaded weights.

    Args:
        path: A run or checkpoint folder, a `.safetensors` export, or a name of downloaded
            weights; the newest run by default.
        data: Where no path is given, only runs on this dataset count.

    Raises:
        AlexnetError: There are no weights there, or they are damaged.
    """
    weights = named_model(path) if path else None
    if weights is not None and weights.suffix == ".onnx" and not weights.is_dir():
        raise UsageError(
            f"{weights} is an export already; a run or a .safetensors file is needed",
            hint=_weights_beside(weights),
        )
    if weights is not None and weights.suffix == ".safetensors" and not weights.is_dir():
        from alexnet_cli.training.finetune import open_pretrained

        opened = open_pretrained(str(weights))
        return Trained(opened.rebuild(), opened.manifest, str(path), weights.parent, weights)
    checkpoint = find_checkpoint(path, data=data)
    folder = _run_folder(checkpoint.folder)
    return Trained(load_network(checkpoint), checkpoint.manifest, str(checkpoint.folder), folder)


def _weights_beside(path: Path) -> str:
    for other in (path.parent, path.with_suffix(".safetensors")):
        if RunFolder(other).checkpoints.is_dir() or other.is_file():
            return f"name them: alexnet export {shlex.quote(str(other))}"
    return "name a run folder or a .safetensors file"


def _run_folder(checkpoint: Path) -> Path:
    """Return the run of a checkpoint folder, as seen from the working folder if it lies below."""
    run = checkpoint.resolve().parent.parent
    return run.relative_to(Path.cwd()) if run.is_relative_to(Path.cwd()) else run


def drawn_crops(num_images: int, *, image_size_px: int, crop_size_px: int) -> "NDArray[np.uint8]":
    """Return centre crops of shapes, (N, S, S, 3), for a model whose own images are not at hand."""
    from alexnet_cli.data.shapes import draw_shapes
    from alexnet_cli.image import crop_centre, resize_all

    images, _ = draw_shapes(num_images, seed=0)
    return crop_centre(resize_all(images, image_size_px), crop_size_px)


def open_model(path: Path | None, *, device: str) -> OpenedModel:
    """Open a run, a checkpoint or an exported file for evaluation in its own runtime."""
    path = named_model(path) if path else None
    if path is not None and path.suffix in _EXPORTED:
        from alexnet_cli.inference.session import load_model

        model = load_model(path, device=device)
        label = f"{path} with ONNX Runtime, {model.provider}{_kind(model.manifest)}"
        return OpenedModel(path, label, model.manifest, model.logits, model.note)
    return _open_checkpoint(find_checkpoint(path), device=device)


def _kind(manifest: Manifest) -> str:
    """Say what a file decides that the checkpoint did not."""
    deployment = manifest.deployment
    if deployment is None:
        return ""
    views = f", {deployment.num_views} views" if deployment.num_views > 1 else ""
    return f", {deployment.precision}{views}"


def _open_checkpoint(checkpoint: "Checkpoint", *, device: str) -> OpenedModel:
    import torch

    from alexnet_cli.models.layers import PixelNetwork, torch_logits
    from alexnet_cli.training.device import describe_device, resolve_device

    chosen = resolve_device(device)
    network = PixelNetwork(load_network(checkpoint), checkpoint.manifest.input).to(chosen)
    epoch = checkpoint.manifest.provenance.epoch
    label = f"{checkpoint.folder} (epoch {epoch}) with PyTorch, {describe_device(chosen)}"
    # float32, and no shorter format inside, so that the figures are the exported model's.
    torch.backends.cudnn.allow_tf32 = False
    logits = torch_logits(network, device=chosen, dtype=torch.float32)
    return OpenedModel(checkpoint.folder, label, checkpoint.manifest, logits)


def load_images(models: "Sequence[OpenedModel]", data: str, split: "Split") -> "ImageSource":
    """Return the images of a part of a dataset on which models can be measured.

    Raises:
        UsageError: A model knows other classes than the dataset or the first model, or was trained
            on what another held out.
    """
    from alexnet_cli.data.datasets import Split, find_dataset, load_split

    _require_same_classes(models)
    dataset = find_dataset(data)
    _require_known_classes(models[0], dataset)
    if split is Split.VAL:
        for each in models:
            _require_same_division(dataset, each.manifest.provenance)
        _require_same_held_out(models, dataset)
    origin = models[0].manifest.provenance
    return load_split(dataset, split, val_size=origin.val_size, seed=origin.seed)


def common_data(models: "Sequence[OpenedModel]") -> str:
    """Return the dataset that all models were trained on.

    Raises:
        UsageError: They were trained on several.
    """
    from alexnet_cli.errors import UsageError

    first = models[0]
    name = first.manifest.provenance.data
    for other in models[1:]:
        if other.manifest.provenance.data != name:
            _require_same_classes(models)
            raise UsageError(
                f"{first.path} was trained on {name}, {other.path} on "
                f"{other.manifest.provenance.data}: it is unclear on which to compare them",
                hint=f"name one: --data {shlex.quote(name)}",
                code="data_differ",
            )
    return name


def _require_known_classes(opened: "OpenedModel", dataset: "Dataset") -> None:
    from alexnet_cli.errors import UsageError

    known, origin = opened.manifest.classes, opened.manifest.provenance
    if dataset.classes != known:
        raise UsageError(
            f"{opened.path} knows other classes than {dataset.name}: "
            + _differing(known=known, there=dataset.classes),
            hint=f"evaluate it on {origin.data}, whose classes it knows: --data "
            f"{shlex.quote(origin.data)}",
            code="classes_differ",
        )


def _require_same_classes(models: "Sequence[OpenedModel]") -> None:
    from alexnet_cli.errors import UsageError

    first = models[0]
    for other in models[1:]:
        if other.manifest.classes != first.manifest.classes:
            raise UsageError(
                f"{other.path} knows other classes than {first.path}: "
                + _differing(known=first.manifest.classes, there=other.manifest.classes),
                hint="measure each by itself: "
                + shlex.join(["alexnet", "evaluate", str(other.path)]),
                code="classes_differ",
            )


def _require_same_held_out(models: "Sequence[OpenedModel]", dataset: "Dataset") -> None:
    """Refuse to compare on images that one model held out and another may have been trained on."""
    from alexnet_cli.errors import UsageError

    first = models[0]
    divisions = {
        (each.manifest.provenance.val_size, each.manifest.provenance.seed) for each in models
    }
    if len(divisions) > 1 and dataset.load_val() is None:
        paths = shlex.join(str(each.path) for each in models)
        raise UsageError(
            f"not all of these models held out the same images as {first.path}: --val-size and "
            f"--seed differ",
            hint=f"compare them on the test set: alexnet evaluate {paths}",
            code="images_differ",
        )


def _require_same_division(dataset: "Dataset", origin: "Provenance") -> None:
    """Refuse to call images held out that may have been trained on."""
    from alexnet_cli.data.arrays import split_fingerprint
    from alexnet_cli.data.datasets import load_training
    from alexnet_cli.errors import UsageError

    if dataset.name != origin.data or not origin.images:
        return
    now = split_fingerprint(*load_training(dataset, val_size=origin.val_size, seed=origin.seed))
    if now != origin.images:
        raise UsageError(
            f"the images of {dataset.name} are no longer those of the training, so that some of "
            f"its validation images may have been trained on: {origin.images} then, {now} now",
            hint="put the folder back as it was, or measure on images of its test/ folder",
            code="images_differ",
        )


def _differing(*, known: tuple[str, ...], there: tuple[str, ...]) -> str:
    """Say which classes are on one side only; "it" is what is there."""
    parts = []
    for words, names, others in (("it lacks", known, there), ("it also has", there, known)):
        only = [name for name in names if name not in set(others)]
        if only:
            parts.append(f"{words} {join_some(only)}")
    return "; ".join(parts) or "they are in another order"
