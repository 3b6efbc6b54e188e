import numpy as np

from alexnet_cli.models.layers import to_unit_range


def test_each_filter_uses_the_whole_range():
    filters = np.random.default_rng(0).normal(size=(5, 3, 3, 3)).astype(np.float32)
    scaled = to_unit_range(filters)
    assert scaled.min(axis=(1, 2, 3)).tolist() == [0] * 5
    assert scaled.max(axis=(1, 2, 3)).tolist() == [1] * 5
    assert np.isfinite(to_unit_range(np.zeros((2, 3, 3, 3), np.float32))).all()
