"""What the first layer looks for. Shape letters: F filters, S side, 3 = RGB."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from alexnet_cli.models.filters import normalised
from alexnet_cli.report.drawing import draw

_MOST_COLUMNS = 16  # as in the paper's figure
_GAP_PX = 1


def filters_figure(filters_FSS3: NDArray[np.float32]) -> tuple[Figure, str]:
    """Return the filters side by side, as in the paper's figure 3.

    Source: paper, figure 3: "96 convolutional kernels of size 11×11×3 learned by the first
    convolutional layer".
    """
    mosaic, (rows, columns) = _mosaic(normalised(filters_FSS3))
    count, side = filters_FSS3.shape[:2]

    def panel(axes: Axes) -> str:
        axes.imshow(mosaic, interpolation="nearest")
        axes.set_axis_off()
        axes.set_title(f"{count} filters, {side}×{side}×3", loc="left")
        return (f"The {count} filters of the first layer, {side} by {side} pixels each, in {rows} "
                f"rows of {columns}")  # fmt: skip

    return draw(panel, width=6.4, height=0.5 + 6.2 * mosaic.shape[0] / mosaic.shape[1])


def _mosaic(tiles_FSS3: NDArray[np.float32]) -> tuple[NDArray[np.float32], tuple[int, int]]:
    """Lay square tiles out in rows with gaps between them."""
    count, side = tiles_FSS3.shape[:2]
    columns = min(_MOST_COLUMNS, count)
    rows = -(-count // columns)
    step = side + _GAP_PX
    mosaic = np.zeros((rows * step - _GAP_PX, columns * step - _GAP_PX, 4), np.float32)
    for number, tile in enumerate(tiles_FSS3):
        top, left = (place * step for place in divmod(number, columns))
        mosaic[top : top + side, left : left + side, :3] = tile
        mosaic[top : top + side, left : left + side, 3] = 1  # gaps stay transparent
    return mosaic, (rows, columns)
