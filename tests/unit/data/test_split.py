import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alexnet_cli.data.arrays import stratified_split
from alexnet_cli.errors import UsageError

BALANCED = np.arange(500) % 10


@given(data=st.data(), labels=st.lists(st.integers(0, 6), min_size=2, max_size=200))
def test_the_parts_are_disjoint_complete_and_in_proportion(data, labels):
    labels = np.array(labels)
    val_size = data.draw(st.integers(1, len(labels) - 1))
    train, val = stratified_split(labels, val_size=val_size, seed=3)
    assert len(val) == val_size
    np.testing.assert_array_equal(np.sort(np.concatenate([train, val])), np.arange(len(labels)))
    assert (np.diff(train) > 0).all()
    assert (np.diff(val) > 0).all()
    exact = np.bincount(labels) * (val_size / len(labels))
    held_out = np.bincount(labels[val], minlength=len(exact))
    assert (np.abs(held_out - exact) < 1 + 1e-9).all()


def test_the_same_seed_draws_the_same_and_another_seed_others():
    first, again, other = (
        stratified_split(BALANCED, val_size=50, seed=seed)[1] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_numpys_global_state_does_not_matter():
    np.random.seed(1)  # noqa: NPY002 (the state under test)
    first = stratified_split(BALANCED, val_size=50, seed=0)[1]
    np.random.seed(2)  # noqa: NPY002
    np.testing.assert_array_equal(first, stratified_split(BALANCED, val_size=50, seed=0)[1])


def test_the_draw_is_random_within_each_class():
    _, val = stratified_split(BALANCED, val_size=100, seed=0)
    for label in range(10):
        places = np.flatnonzero(BALANCED[val] == label)
        assert len(places) == 10
    assert val.min() < 100  # not a run at one end
    assert val.max() >= 400


@pytest.mark.parametrize("val_size", [-1, 0, 500, 501])
def test_both_parts_must_get_something(val_size):
    with pytest.raises(UsageError) as caught:
        stratified_split(BALANCED, val_size=val_size, seed=0)
    assert caught.value.message == f"cannot hold out {val_size} of 500 training images"
    assert "between 1 and 499" in caught.value.hint
