"""Trained models by their path or name: to evaluate, to export, or to train further (`--from`).

PyTorch is imported where it is used: an exported file is evaluated without it.
"""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.config.schema import Init, InputScaling, TrainConfig
from alexnet_cli.console import note
from alexnet_cli.data.shapes import draw_shapes
from alexnet_cli.errors import CheckpointError, ModelFileError, UsageError
from alexnet_cli.evaluation.measure import OpenedModel
from alexnet_cli.image import crop_centre, resize_all
from alexnet_cli.inference.session import export_hint, load_model, read_manifest
from alexnet_cli.manifest import ONNX, SAFETENSORS, Manifest, model_format
from alexnet_cli.networks import OPTIONS, PRETRAINED, network_spec, option_flag
from alexnet_cli.run_folder import (
    RunFolder,
    named_model,
    newest_run,
    pretrained_model,
    suggest_run,
    weights_beside,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from alexnet_cli.models.build import PixelNetwork
    from alexnet_cli.training.checkpoint import Checkpoint

_COUNT = "num_batches_tracked"  # of batch normalisation; inference does not use it
FINE_TUNING_LR = 0.001  # a tenth of the paper's: learned weights should move, not be lost


def find_checkpoint(path: Path | None) -> "Checkpoint":
    """Return the best checkpoint of a run (the newest run by default), or the one named.

    Raises:
        CheckpointError: There is none there.
    """
    from alexnet_cli.training.checkpoint import chosen_checkpoint

    folder = path or newest_run().path
    if not folder.is_dir():
        is_file = f"{folder} is a file; a run or checkpoint folder is needed"
        raise CheckpointError(
            is_file if folder.is_file() else f"no such run or checkpoint: {folder}",
            hint=suggest_run(
                folder, hint="name a run folder, or leave the path out to take the newest run"
            ),
            code="checkpoint_missing",
        )
    return chosen_checkpoint(folder, warn=note)


def load_network(checkpoint: "Checkpoint") -> "nn.Module":
    """Rebuild the network of a checkpoint, with its weights, on the CPU."""
    from alexnet_cli.models.build import build_network

    network = build_network(checkpoint.manifest.network)
    checkpoint.load_model(network)
    return network


def rebuild_model(checkpoint: "Checkpoint", *, device: "torch.device") -> "PixelNetwork":
    """Rebuild the model of a checkpoint in evaluation mode, float32 as in the exported model."""
    from alexnet_cli.models.build import PixelNetwork

    return PixelNetwork(load_network(checkpoint), checkpoint.manifest.input).to(device).eval()


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

    `path` is a run or checkpoint folder, a `.safetensors` export, or a name of downloaded weights.

    Raises:
        AlexnetError: There are no weights there, or they are damaged.
    """
    weights = named_model(path)
    if model_format(weights) == ONNX:
        raise UsageError(
            f"{weights} is an export already; a run or a .safetensors file is needed",
            hint=_hint_weights_beside(weights),
        )
    if model_format(weights) == SAFETENSORS:
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
    if path is not None and model_format(path):
        return _open_exported(path, device=device)
    return _open_checkpoint(find_checkpoint(path), device=device)


def _open_exported(path: Path, *, device: str) -> OpenedModel:
    model = load_model(path, device=device)
    label = f"{path} with ONNX Runtime, {model.provider}"
    if model.manifest.deployment is not None:
        label += f", {model.manifest.deployment.precision}"
    if model.manifest.num_views > 1:
        label += f", {model.manifest.num_views} views"
    return OpenedModel(path, label, model.manifest, model.logits, model.note)


def _open_checkpoint(checkpoint: "Checkpoint", *, device: str) -> OpenedModel:
    import torch

    from alexnet_cli.models.build import torch_logits
    from alexnet_cli.training.device import describe_device, resolve_device

    chosen = resolve_device(device)
    epoch = checkpoint.manifest.provenance.epoch
    label = f"{checkpoint.folder} (epoch {epoch}) with PyTorch, {describe_device(chosen)}"
    model = rebuild_model(checkpoint, device=chosen)
    logits = torch_logits(model, device=chosen, dtype=torch.float32)
    return OpenedModel(checkpoint.folder, label, checkpoint.manifest, logits)


@dataclass(frozen=True)
class Pretrained:
    """Trained weights with the description of their model."""

    name: str  # the value of --from
    manifest: Manifest
    tensors: "dict[str, Tensor]"

    def require_same_network(self, config: TrainConfig) -> None:
        """Refuse a configuration whose network would compute something else with these weights.

        Raises:
            UsageError: The network is another one, or has other options.
        """
        own = self.manifest.network
        if own.name is not config.model:
            raise UsageError(
                f"the weights {self.name} are of {own.name}, not of {config.model}",
                hint=f"train --model {own.name}",
            )
        asked = network_spec(
            own.name, num_classes=1, crop_size_px=1, options=config.network_options
        )
        for key in OPTIONS:
            if getattr(asked, key) != getattr(own, key):
                was, wanted = (option_flag(key, getattr(spec, key)) for spec in (own, asked))
                raise UsageError(
                    f"the weights {self.name} were trained with {was}, not with {wanted}",
                    hint=f"leave --{key} out, or give it as {was}",
                )

    def copy_into(self, network: "nn.Module", *, classes: tuple[str, ...]) -> None:
        """Copy the weights; for other classes, all but those of the last layer.

        Raises:
            UsageError: The network is another one.
        """
        left_out = self.left_out(network, classes=classes)
        kept = {name: value for name, value in self.tensors.items() if name not in left_out}
        network.load_state_dict(kept, strict=False)

    def rebuild(self) -> "nn.Module":
        """Return the network they were trained as.

        Raises:
            ModelFileError: Weights are missing or have another shape.
        """
        from alexnet_cli.models.build import build_network

        network, classes = build_network(self.manifest.network), self.manifest.classes
        missing = [n for n in self.left_out(network, classes=classes) if not n.endswith(_COUNT)]
        if missing:
            raise ModelFileError(
                f"the weights {self.name} are not those of its network ({min(missing)} differs)",
                hint="use the file as alexnet export wrote it",
            )
        self.copy_into(network, classes=classes)
        return network

    def require_fit(self, network: "nn.Module", *, classes: tuple[str, ...]) -> None:
        """Refuse a network, or its outline, into which these weights cannot be copied.

        Raises:
            UsageError: More differs than the last layer for other classes.
        """
        self.left_out(network, classes=classes)

    def left_out(self, network: "nn.Module", *, classes: tuple[str, ...]) -> set[str]:
        """Return the names of the weights that are not copied into a network, or its outline.

        Raises:
            UsageError: More differs than the last layer for other classes.
        """
        from alexnet_cli.models.build import weight_layers

        wanted = {name: value.shape for name, value in network.state_dict().items()}
        own = {name: value.shape for name, value in self.tensors.items()}
        differing = {n for n in wanted.keys() | own.keys() if wanted.get(n) != own.get(n)}
        last_layer = weight_layers(network)[-1]
        head = next(name for name, module in network.named_modules() if module is last_layer)
        counts = {name for name in differing if name.endswith(_COUNT)}
        heads = {f"{head}.weight", f"{head}.bias"}
        if others := differing - counts - heads:
            raise UsageError(
                f"the weights of {self.name} do not fit this network ({min(others)} differs)",
                hint="use the network's options and the crop size that they were trained with",
            )
        return differing if classes == self.manifest.classes else differing | heads


def open_pretrained(name: str) -> Pretrained:
    """Read trained weights: `PRETRAINED`, a run or checkpoint folder, or a `.safetensors` export.

    Raises:
        AlexnetError: They do not exist or are damaged.
    """
    import safetensors.torch

    path = _find_weights(name)
    if path.is_dir():
        from alexnet_cli.training.checkpoint import MODEL_FILE, chosen_checkpoint

        checkpoint = chosen_checkpoint(path)
        return Pretrained(name, checkpoint.manifest, checkpoint.read_tensors(MODEL_FILE))
    manifest = read_manifest(path)
    try:
        return Pretrained(name, manifest, safetensors.torch.load(path.read_bytes()))
    except safetensors.SafetensorError as error:
        hint = export_hint(path)
        raise ModelFileError(f"cannot read the weights {path} ({error})", hint=hint) from error


def settings_of(name: str) -> dict[str, Any]:
    """Return the default settings of a run that starts from trained weights.

    These are their network with its options and sizes, and a smaller learning rate. The input
    scaling comes with the weights.

    Raises:
        AlexnetError: They do not exist or are damaged.
    """
    path = _find_weights(name)
    if path.is_dir():
        from alexnet_cli.training.checkpoint import chosen_checkpoint

        manifest = chosen_checkpoint(path).manifest
    else:
        manifest = read_manifest(path)
    network, image = manifest.network, manifest.input
    return {
        "model": network.name,
        **{key: getattr(network, key) for key in OPTIONS},
        "image_size": image.image_size_px,
        "crop_size": image.crop_size_px,
        "learning_rate": FINE_TUNING_LR,
        "init": Init.HE,
        "input_scaling": InputScaling.STANDARD,
    }


def _find_weights(name: str) -> Path:
    path = pretrained_model(name) if name in PRETRAINED else Path(name)
    if path.is_dir() or (path.is_file() and model_format(path) == SAFETENSORS):
        return path
    hint = (
        f"name one of: {', '.join(PRETRAINED)}; or a run folder, or a .safetensors file of "
        "alexnet export"
    )
    if not path.is_file():
        raise UsageError(f"unknown trained weights {name!r}", hint=hint, code="weights_missing")
    weights = weights_beside(path)
    if weights is not None:
        hint = f"name the file next to it: {shlex.quote(str(weights))}"
    raise UsageError(
        f"{path} cannot be trained further, only .safetensors files can",
        hint=hint,
        code="weights_missing",
    )
