"""Models by their path: a run, a checkpoint, or an exported file."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.console import note
from alexnet_cli.data.shapes import draw_shapes
from alexnet_cli.errors import CheckpointError, UsageError
from alexnet_cli.evaluation.measure import OpenedModel
from alexnet_cli.image import crop_centre, resize_all
from alexnet_cli.manifest import Manifest
from alexnet_cli.run_folder import RunFolder, named_model, newest_run, weights_beside

if TYPE_CHECKING:  # PyTorch is imported where it is used: an exported file runs without it
    from torch import nn

    from alexnet_cli.training.checkpoint import Checkpoint


def find_checkpoint(path: Path | None) -> "Checkpoint":
    """Return the best checkpoint of a run (the newest run by default), or the one named.

    Args:
        path: A run folder or a checkpoint folder.

    Raises:
        CheckpointError: There is none there.
    """
    from alexnet_cli.training.checkpoint import chosen_checkpoint

    folder = path or newest_run().path
    if not folder.is_dir():
        is_file = f"{folder} is a file; a run or checkpoint folder is needed"
        raise CheckpointError(
            is_file if folder.is_file() else f"no such run or checkpoint: {folder}",
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
    """A trained network, rebuilt, to be exported."""

    network: "nn.Module"  # with its weights, on the CPU
    manifest: Manifest
    label: str  # for people
    folder: Path  # where its exports go by default
    weights: Path | None = None  # the exported file it was read from, if it was


def open_trained(path: Path) -> Trained:
    """Rebuild the network of a run, a checkpoint, exported or downloaded weights.

    Args:
        path: A run or checkpoint folder, a `.safetensors` export, or a name of downloaded weights.

    Raises:
        AlexnetError: There are no weights there, or they are damaged.
    """
    weights = named_model(path)
    if weights.suffix == ".onnx" and not weights.is_dir():
        raise UsageError(
            f"{weights} is an export already; a run or a .safetensors file is needed",
            hint=_hint_weights_beside(weights),
        )
    if weights.suffix == ".safetensors" and not weights.is_dir():
        from alexnet_cli.training.finetune import open_pretrained

        opened = open_pretrained(str(weights))
        return Trained(opened.rebuild(), opened.manifest, str(path), weights.parent, weights)
    checkpoint = find_checkpoint(path)
    run = checkpoint.folder.resolve().parent.parent
    folder = run.relative_to(Path.cwd()) if run.is_relative_to(Path.cwd()) else run
    return Trained(load_network(checkpoint), checkpoint.manifest, str(checkpoint.folder), folder)


def _hint_weights_beside(path: Path) -> str:
    source = path.parent if RunFolder(path.parent).checkpoints.is_dir() else weights_beside(path)
    if source is None:
        return "name a run folder or a .safetensors file"
    return f"name them: alexnet export {shlex.quote(str(source))}"


def drawn_crops(num_images: int, *, image_size_px: int, crop_size_px: int) -> NDArray[np.uint8]:
    """Return centre crops of shapes, (N, S, S, 3), for a model without images of its own."""
    images, _ = draw_shapes(num_images, seed=0)
    return crop_centre(resize_all(images, image_size_px), crop_size_px)


def open_model(path: Path | None, *, device: str) -> OpenedModel:
    """Open a run, a checkpoint or an exported file for evaluation in its own runtime."""
    path = named_model(path) if path else None
    if path is not None and path.suffix in (".onnx", ".safetensors"):
        return _open_exported(path, device=device)
    return _open_checkpoint(find_checkpoint(path), device=device)


def _open_exported(path: Path, *, device: str) -> OpenedModel:
    from alexnet_cli.inference.session import load_model

    model = load_model(path, device=device)
    label = f"{path} with ONNX Runtime, {model.provider}"
    if model.manifest.deployment is not None:
        label += f", {model.manifest.deployment.precision}"
    if model.manifest.num_views > 1:
        label += f", {model.manifest.num_views} views"
    return OpenedModel(path, label, model.manifest, model.logits, model.note)


def _open_checkpoint(checkpoint: "Checkpoint", *, device: str) -> OpenedModel:
    import torch

    from alexnet_cli.models.build import PixelNetwork, torch_logits
    from alexnet_cli.training.device import describe_device, resolve_device

    chosen = resolve_device(device)
    network = PixelNetwork(load_network(checkpoint), checkpoint.manifest.input).to(chosen)
    epoch = checkpoint.manifest.provenance.epoch
    label = f"{checkpoint.folder} (epoch {epoch}) with PyTorch, {describe_device(chosen)}"
    # Full float32, so that the metrics are those of the exported model.
    torch.backends.cudnn.allow_tf32 = False
    logits = torch_logits(network, device=chosen, dtype=torch.float32)
    return OpenedModel(checkpoint.folder, label, checkpoint.manifest, logits)
