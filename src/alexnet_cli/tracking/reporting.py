"""From what training tells to what a tracker takes.

Shape letters: N images, F filters, S side, H height, W width, 3 = RGB.
"""

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torchvision.utils import make_grid

from alexnet_cli.image import crop_centre
from alexnet_cli.models.layers import first_filters, to_unit_range
from alexnet_cli.tracking.tracker import Tracker
from alexnet_cli.training.checkpoint import EpochRow
from alexnet_cli.training.reporting import Reporter
from alexnet_cli.training.setup import TrainingRun

_NUM_IMAGES = 32  # validation images that are shown
_GROUPS = {"train_loss": "train/loss", "train_top1": "train/top1", "val_loss": "val/loss",
           "val_top1": "val/top1"}  # fmt: skip


class TrackingReporter(Reporter):
    """Passes a run on to a tracker; when that fails, training goes on without it.

    Args:
        tracker: Where it goes.
        job: The run.
        warn: Told, once, that the tracker has failed.
    """

    def __init__(self, tracker: Tracker, job: TrainingRun, warn: Callable[[str], None]) -> None:
        self._tracker, self._job, self._warn = tracker, job, warn
        self._errors: tuple[type[Exception], ...] = (OSError, *tracker.errors)
        self._works = True
        self._network: nn.Module = nn.Identity()

    def on_start(self, network: nn.Module, history: tuple[EpochRow, ...]) -> None:
        """Pass on the settings, the network, some images, and the filters as they are now."""
        self._network = network
        epoch = len(history)
        self._tell(partial(self._tracker.log_settings, self._settings()))
        images_NSS3 = self._images()
        sheet = _mosaic((images_NSS3 / 255).astype(np.float32))
        self._tell(partial(self._tracker.log_image, "images", sheet, epoch=epoch))
        example = torch.from_numpy(images_NSS3[:1]).to(self._job.device)
        self._tell(partial(self._tracker.log_graph, network, example))
        self._log_filters(epoch)

    def on_epoch(self, row: EpochRow, *, is_best: bool) -> None:  # noqa: ARG002 - shown by the curve
        """Pass on the epoch's numbers and filters."""
        self._log_filters(row.epoch)
        self._tell(partial(self._tracker.log_scalars, _scalars(row), epoch=row.epoch))

    def close(self) -> None:
        """Let the tracker write what it still holds."""
        self._tell(self._tracker.close)

    def _settings(self) -> Mapping[str, object]:
        return self._job.config.model_dump(mode="json") | {
            name: value for name, value in self._job.environment.items() if name != "precision"
        }

    def _images(self) -> NDArray[np.uint8]:
        """Return the first validation images, as the network sees them in a validation."""
        spec, val = self._job.manifest.input, self._job.val
        first = val.take(np.arange(min(_NUM_IMAGES, len(val))))
        squares = first.squares(spec.image_size_px)
        return np.ascontiguousarray(crop_centre(squares, spec.crop_size_px))

    def _log_filters(self, epoch: int) -> None:
        filters = _mosaic(to_unit_range(first_filters(self._network)))
        self._tell(partial(self._tracker.log_image, "filters", filters, epoch=epoch))

    def _tell(self, call: Callable[[], None]) -> None:
        """Call the tracker, unless it has failed before."""
        if not self._works:
            return
        try:
            call()
        except self._errors as error:
            self._works = False
            self._warn(f"warning: tracking has stopped, training goes on ({error})")


def _mosaic(tiles_NSS3: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lay tiles of values 0–1 out in a picture (H, W, 3)."""
    columns = int(len(tiles_NSS3) ** 0.5 * 1.4) or 1
    tiles_N3SS = torch.from_numpy(tiles_NSS3).permute(0, 3, 1, 2)
    grid = make_grid(tiles_N3SS, nrow=columns, padding=1)
    picture: NDArray[np.uint8] = (grid.permute(1, 2, 0) * 255).round().byte().numpy()
    return picture


def _scalars(row: EpochRow) -> dict[str, float]:
    names = ("learning_rate", "images_per_second", "data_wait_share", *_GROUPS)
    return {_GROUPS.get(name, name): float(getattr(row, name)) for name in names}
