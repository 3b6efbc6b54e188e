"""Fine-tuning: start a run from trained weights (`--from`)."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor, nn

from alexnet_cli.config.schema import Init, InputScaling, TrainConfig
from alexnet_cli.errors import ModelFileError, UsageError
from alexnet_cli.inference.session import export_hint, read_manifest
from alexnet_cli.manifest import Manifest
from alexnet_cli.models.build import build_network, weight_layers
from alexnet_cli.networks import OPTIONS, PRETRAINED, network_spec, option_flag
from alexnet_cli.run_folder import pretrained_model, weights_beside
from alexnet_cli.training.checkpoint import MODEL_FILE, chosen_checkpoint

_COUNT = "num_batches_tracked"  # of batch normalisation; inference does not use it
FINE_TUNING_LR = 0.001  # a tenth of the paper's: learned weights should move, not be lost


@dataclass(frozen=True)
class Pretrained:
    """Trained weights with the description of their model."""

    name: str  # the value of --from
    manifest: Manifest
    tensors: dict[str, Tensor]

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

    def copy_into(self, network: nn.Module, *, classes: tuple[str, ...]) -> None:
        """Copy the weights; for other classes, all but those of the last layer.

        Raises:
            UsageError: The network is another one.
        """
        left_out = self.left_out(network, classes=classes)
        kept = {name: value for name, value in self.tensors.items() if name not in left_out}
        network.load_state_dict(kept, strict=False)

    def rebuild(self) -> nn.Module:
        """Return the network they were trained as.

        Raises:
            ModelFileError: Weights are missing or have another shape.
        """
        network, classes = build_network(self.manifest.network), self.manifest.classes
        missing = [n for n in self.left_out(network, classes=classes) if not n.endswith(_COUNT)]
        if missing:
            raise ModelFileError(
                f"the weights {self.name} are not those of its network ({min(missing)} differs)",
                hint="use the file as alexnet export wrote it",
            )
        self.copy_into(network, classes=classes)
        return network

    def left_out(self, network: nn.Module, *, classes: tuple[str, ...]) -> set[str]:
        """Return the names of the weights that are not copied into a network, or its outline.

        Raises:
            UsageError: More differs than the last layer for other classes.
        """
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
    path = _find(name)
    if path.is_dir():
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
    path = _find(name)
    manifest = chosen_checkpoint(path).manifest if path.is_dir() else read_manifest(path)
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


def _find(name: str) -> Path:
    path = pretrained_model(name) if name in PRETRAINED else Path(name)
    if path.is_dir() or (path.is_file() and path.suffix == ".safetensors"):
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
