"""What a path on the command line stands for: a run, a checkpoint, or an exported file."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alexnet_cli.cli.console import note
from alexnet_cli.errors import CheckpointError, UsageError
from alexnet_cli.manifest import Manifest
from alexnet_cli.runs import RunFolder, named_model, newest_run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from alexnet_cli.training.checkpoint import Checkpoint

_EXPORTED = (".onnx", ".safetensors")


@dataclass(frozen=True)
class OpenedModel:
    """A model that can be called, whatever runs it.

    Attributes:
        path: What it was read from.
        label: What to call it.
        manifest: Its description.
        logits: uint8 images (B, S, S, 3), S the manifest's `input_side_px`, to logits (B, K).
        note: Something the user should know, such as why no GPU is used.
    """

    path: Path
    label: str
    manifest: Manifest
    logits: Callable[[Any], Any]
    note: str | None = None


def find_checkpoint(path: Path | None, *, data: str | None = None) -> "Checkpoint":
    """Return the best checkpoint of a run (the newest run by default), or the one named.

    Args:
        path: A run folder or a checkpoint folder.
        data: Where no path is given, only runs on this dataset count.

    Raises:
        CheckpointError: There is none there.
    """
    from alexnet_cli.training.retention import chosen_checkpoint

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
        from alexnet_cli.training.pretrained import open_pretrained

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

    from alexnet_cli.evaluation.torch_model import torch_logits
    from alexnet_cli.models.normalise import PixelNetwork
    from alexnet_cli.training.device import describe_device, resolve_device

    chosen = resolve_device(device)
    network = PixelNetwork(load_network(checkpoint), checkpoint.manifest.input).to(chosen)
    epoch = checkpoint.manifest.provenance.epoch
    label = f"{checkpoint.folder} (epoch {epoch}) with PyTorch, {describe_device(chosen)}"
    # float32, and no shorter format inside, so that the figures are the exported model's.
    torch.backends.cudnn.allow_tf32 = False
    logits = torch_logits(network, device=chosen, dtype=torch.float32)
    return OpenedModel(checkpoint.folder, label, checkpoint.manifest, logits)
