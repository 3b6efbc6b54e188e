"""torchvision's pretrained weights as a file of this project."""

import tempfile
from importlib import metadata
from pathlib import Path
from urllib.error import HTTPError, URLError

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torchvision.models import WeightsEnum

from alexnet_cli.errors import DownloadError
from alexnet_cli.export.settings import Compared, ExportSettings, Format
from alexnet_cli.export.write import Exported, export_model
from alexnet_cli.manifest import InputSpec, Manifest, Provenance
from alexnet_cli.models.build import build_network
from alexnet_cli.networks import PRETRAINED_DATA, Network, network_spec

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # what they were trained with, 0–1
_IMAGE_SIZE_PX, _CROP_SIZE_PX = 256, 224
_NUM_VAL = 50_000  # images of ImageNet's validation set, on which their accuracy was measured


def fetch_state_dict(weights: WeightsEnum, *, show_progress: bool) -> dict[str, Tensor]:
    """Download weights and check them against the hash in their file name.

    Raises:
        DownloadError: No network, an HTTP error, or other bytes than published.
    """
    with tempfile.TemporaryDirectory() as folder:
        try:
            state: dict[str, Tensor] = weights.get_state_dict(
                model_dir=folder, progress=show_progress, check_hash=True, weights_only=True
            )
        except HTTPError as error:
            error.close()
            raise _failed(weights, f"the server answered {error.code}") from error
        except URLError as error:
            raise _failed(weights, f"no connection to the server: {error.reason}") from error
        except (OSError, EOFError) as error:
            raise _failed(weights, str(error)) from error
        except RuntimeError as error:  # from torch.hub, if the hash differs
            raise _failed(weights, f"it is not the published file: {error}") from error
    return state


def _failed(weights: WeightsEnum, reason: str) -> DownloadError:
    return DownloadError(
        f"cannot download {weights.url} ({reason})",
        hint="try again later with: alexnet download --weights owt",
    )


def convert(
    state: dict[str, Tensor], weights: WeightsEnum, folder: Path, images_BSSC: NDArray[np.uint8]
) -> Exported:
    """Write `model.safetensors` with the names of ImageNet's classes.

    PyTorch and ONNX Runtime are compared on `images_BSSC`, uint8 crops of 224 px.

    Raises:
        ExportError: The file differs from PyTorch.
    """
    classes = tuple(weights.meta["categories"])
    spec = network_spec(Network.ALEXNET_OWT, num_classes=len(classes), crop_size_px=_CROP_SIZE_PX)
    red, green, blue = (1 / (255 * std) for std in _STD)
    shift = (-_MEAN[0] / _STD[0], -_MEAN[1] / _STD[1], -_MEAN[2] / _STD[2])
    manifest = Manifest(
        spec,
        InputSpec(_IMAGE_SIZE_PX, _CROP_SIZE_PX, scale=(red, green, blue), shift=shift),
        classes,
        Provenance(
            data=PRETRAINED_DATA, seed=0, val_size=_NUM_VAL, epoch=0,
            val_top1=weights.meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100,
            config_sha256="", init=weights.url, momentum_kind="",
            versions={"torchvision": metadata.version("torchvision")},
        ),
    )  # fmt: skip
    network = build_network(spec)
    network.load_state_dict(state, strict=True)
    images = Compared(images_BSSC, name="drawn images")
    return export_model(network, manifest, folder, ExportSettings(Format.SAFETENSORS), images)[0]
