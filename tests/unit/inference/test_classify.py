import numpy as np
import pytest

from alexnet_cli.errors import DataError
from alexnet_cli.image import prepare_image
from alexnet_cli.inference.classify import Choice, classify_one
from alexnet_cli.inference.inputs import Source


def expected_probabilities(model, path):
    return model.probabilities(prepare_image(path, image_size_px=12, crop_size_px=8)[None])[0]


def one(model, path, **choice):
    return classify_one(model, Source(str(path), path), Choice(**choice))


@pytest.mark.parametrize(("top_k", "expected"), [(1, 1), (3, 3), (5, 5), (99, 5)])
def test_top_k(model, paths, top_k, expected):
    prediction = one(model, paths[0], top_k=top_k)
    assert len(prediction.top) == expected
    shares = [one.probability for one in prediction.top]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == pytest.approx(expected_probabilities(model, paths[0]).max(), abs=1e-6)
    assert prediction.best == prediction.top[0]


def test_names_are_those_of_the_indices(model, paths):
    expected = expected_probabilities(model, paths[0])
    for found in one(model, paths[0]).top:
        assert found.name == model.manifest.classes[found.index]
        assert found.probability == pytest.approx(expected[found.index], abs=1e-6)


def test_probabilities_add_up_over_all_classes(model, paths):
    for path in paths:
        assert sum(c.probability for c in one(model, path).top) == pytest.approx(1, abs=1e-6)


def test_only_classes_at_least_so_probable_are_named(model, paths):
    shares = [c.probability for c in one(model, paths[0]).top]
    named = one(model, paths[0], threshold=shares[1]).top
    assert [c.probability for c in named] == shares[:2]
    nothing = one(model, paths[0], threshold=np.nextafter(shares[0], 2))
    assert (nothing.top, nothing.best, nothing.error) == ((), None, None)


def test_equal_probabilities_come_in_the_order_of_classes(model):
    found = Choice(3).predict("x", np.array([0.1, 0.3, 0.1, 0.3, 0.2], np.float32), model)
    assert [c.index for c in found.top] == [1, 3, 4]


def test_an_unreadable_image_has_its_error(model, tmp_path):
    prediction = one(model, tmp_path / "a.png")
    assert prediction.error.code == "image_missing"
    with pytest.raises(DataError, match="no such image"):
        _ = prediction.best


def test_an_error_of_the_search_is_handed_on(model):
    error = DataError("none there")
    assert classify_one(model, Source("x", error=error), Choice()).error is error
