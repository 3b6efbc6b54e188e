"""The images that `alexnet export` compares on, and those that int8 is calibrated on."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from alexnet_cli.data.arrays import ImageSource
    from alexnet_cli.data.catalog import Dataset
    from alexnet_cli.export.parity import Compared
    from alexnet_cli.manifest import Manifest

_NUM_DRAWN = 16


@dataclass(frozen=True)
class ExportSources:
    """Where the images of an export come from; no test image is among them.

    Attributes:
        manifest: Of the model that is exported.
        model: What the user calls it.
        data: Where images are now, if not where they were in training; any images will do.
        calibrates: Whether some of those are for int8, and must not be compared on.
    """

    manifest: "Manifest"
    model: Path | None
    data: str | None
    calibrates: bool = False

    def compared(self, num_images: int) -> "Compared":
        """Return images to compare on: those held out of the training, if at hand.

        Args:
            num_images: At most so many, spread over all there are.

        Raises:
            UsageError: They are not where they were.
        """
        from alexnet_cli.cli.model_source import drawn_crops
        from alexnet_cli.export.parity import Compared

        size_px = self.manifest.input.image_size_px
        if not self._has_images():
            count = min(num_images, _NUM_DRAWN)
            drawn = drawn_crops(count, image_size_px=size_px, crop_size_px=size_px)
            return Compared(drawn, name="drawn images")
        dataset = self._dataset()
        _, held_out = self._divided(dataset)
        chosen = held_out.take(_spread(len(held_out), num_images))
        is_known = dataset.classes == self.manifest.classes
        name = f"images of {dataset.name}" if self.data else "validation images"
        return Compared(chosen.squares(size_px), chosen.labels_N if is_known else None, name)

    def calibration(self, num_images: int) -> "NDArray[np.uint8] | None":
        """Return squares of training images, (N, I, I, 3), if there are any at hand.

        Args:
            num_images: At most so many, spread over all there are.
        """
        if not self._has_images():
            return None
        train, _ = self._divided(self._dataset())
        chosen = train.take(_spread(len(train), num_images))
        return chosen.squares(self.manifest.input.image_size_px)

    def _has_images(self) -> bool:
        from alexnet_cli.networks import PRETRAINED_DATA

        return self.data is not None or self.manifest.provenance.data != PRETRAINED_DATA

    def _dataset(self) -> "Dataset":
        from alexnet_cli.data.catalog import find_dataset
        from alexnet_cli.errors import UsageError

        try:
            return find_dataset(self.data or self.manifest.provenance.data)
        except UsageError as error:
            if self.data is None:
                named = shlex.quote(str(self.model)) if self.model else "RUN"
                error.hint = f"say where its images are now: alexnet export {named} --data FOLDER"
            raise

    def _divided(self, dataset: "Dataset") -> "tuple[ImageSource, ImageSource]":
        """Return training images and others."""
        import numpy as np

        from alexnet_cli.data.catalog import load_training

        origin = self.manifest.provenance
        if self.data is None:
            return load_training(dataset, val_size=origin.val_size, seed=origin.seed)
        train, val = dataset.load_train(), dataset.load_val()
        if val is not None or not self.calibrates:
            return train, train if val is None else val
        numbers = np.arange(len(train))  # of one image there is only itself
        return train.take(numbers[1::2] if len(numbers) > 1 else numbers), train.take(numbers[::2])


def _spread(num_there: int, num_wanted: int) -> "NDArray[np.int64]":
    import numpy as np

    return np.linspace(0, num_there - 1, min(num_wanted, num_there)).astype(np.int64)
