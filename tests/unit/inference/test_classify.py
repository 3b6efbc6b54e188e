import numpy as np
import pytest
from PIL import Image

from alexnet_cli.image import prepare_image
from alexnet_cli.inference.classify import classify_files
from alexnet_cli.inference.session import load_model


@pytest.fixture(scope="module")
def model(exported):
    return load_model(exported.whole / "model.onnx", device="cpu")


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Seven images of several sizes, whose order is not that of their names."""
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    names = [f"{i}.png" for i in (5, 3, 9, 1, 7, 2, 8)]
    for number, name in enumerate(names):
        noise = generator.integers(0, 56, (12 + 3 * number, 20, 3))
        pixels = generator.integers(0, 200, (1, 1, 3)) + noise
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name)
    return [folder / name for name in names]


def expected_probabilities(model, path):
    return model.probabilities(prepare_image(path, image_size_px=12, crop_size_px=8)[None])[0]


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_each_file_gets_its_own_answer_in_order(model, paths, batch_size):
    found = list(classify_files(model, paths, top_k=5, batch_size=batch_size))
    assert [prediction.source for prediction in found] == [str(path) for path in paths]
    for prediction, path in zip(found, paths, strict=True):
        expected = expected_probabilities(model, path)
        assert prediction.error is None
        assert [c.index for c in prediction.top] == np.argsort(-expected).tolist()
        for one in prediction.top:
            assert one.name == model.manifest.classes[one.index]
            assert one.probability == pytest.approx(expected[one.index], abs=1e-5)
    assert len({p.top[0].name for p in found}) > 1


@pytest.mark.parametrize("batch_size", [1, 2, 4, 32])
@pytest.mark.parametrize("position", [0, 3, 7])
def test_an_unreadable_file_does_not_stop_the_others(model, paths, batch_size, position):
    broken = paths[0].parent / "broken.png"
    broken.write_bytes(b"no image")
    given = [*paths[:position], broken, *paths[position:]]
    found = list(classify_files(model, given, batch_size=batch_size))
    assert [prediction.source for prediction in found] == [str(path) for path in given]
    errors = [prediction for prediction in found if prediction.error is not None]
    assert [prediction.source for prediction in errors] == [str(broken)]
    assert "broken.png" in errors[0].error.message
    assert errors[0].top == ()
    assert all(prediction.top for prediction in found if prediction not in errors)


def test_nothing_but_unreadable_files(model, tmp_path):
    found = list(classify_files(model, [tmp_path / "a.png", tmp_path / "b.png"]))
    assert [prediction.error.code for prediction in found] == ["image_missing"] * 2


@pytest.mark.parametrize(("top_k", "expected"), [(1, 1), (3, 3), (5, 5), (99, 5)])
def test_top_k(model, paths, top_k, expected):
    (prediction,) = classify_files(model, paths[:1], top_k=top_k)
    assert len(prediction.top) == expected
    shares = [one.probability for one in prediction.top]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == pytest.approx(expected_probabilities(model, paths[0]).max(), abs=1e-6)


def test_probabilities_add_up_over_all_classes(model, paths):
    for prediction in classify_files(model, paths, top_k=5):
        assert sum(one.probability for one in prediction.top) == pytest.approx(1, abs=1e-6)


def test_a_file_named_twice_is_answered_twice(model, paths):
    one, two = classify_files(model, [paths[0], paths[0]])
    assert one == two


def test_batches_are_answered_before_later_files_are_read(model, paths):
    def names():
        yield from paths[:2]
        raise AssertionError("read ahead")

    answers = classify_files(model, names(), batch_size=2)
    assert [next(answers).source, next(answers).source] == [str(path) for path in paths[:2]]
