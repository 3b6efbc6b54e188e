import numpy as np

from alexnet_cli.models.build import build_network
from alexnet_cli.models.layers import first_filters, to_unit_range
from alexnet_cli.networks import Network, NetworkSpec
from alexnet_cli.report.drawing import style
from alexnet_cli.report.plots import filters_figure


def test_pixels_stand_where_they_belong():
    network = build_network(NetworkSpec(Network.CUDA_CONVNET_80SEC, 10, 8, lrn=False, groups=1))
    filters = first_filters(network)
    assert filters.shape == (32, 5, 5, 3)
    with style():
        figure, words = filters_figure(filters)
    mosaic = figure.axes[0].images[0].get_array()
    np.testing.assert_array_equal(mosaic[6:11, 12:17, :3], to_unit_range(filters)[16 + 2])
    assert (mosaic[5, :, 3] == 0).all()  # a gap
    assert "in 2 rows of 16" in words
