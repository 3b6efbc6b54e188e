import base64
import dataclasses
import io

import numpy as np
import pytest
from PIL import Image

from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.data.folder import ImageFolder
from alexnet_cli.report.views import choose_for_cells, compare_runs, make_pictures, most_confident


def test_a_comparison_names_the_settings_that_differ(examined):
    best = examined.record.best
    config = {**best.config, "learning_rate": 0.5, "only_there": True}
    record = dataclasses.replace(examined.record, best=dataclasses.replace(best, config=config))
    comparison = compare_runs({"A": examined, "B": dataclasses.replace(examined, record=record)})
    assert list(comparison["differences"].values()) == [
        [("learning_rate", ["0.01", "0.5"]), ("only_there", ["–", "True"])], []
    ]  # fmt: skip
    assert comparison["have_same_images"]
    assert len(comparison["curves"]) == 3


@pytest.fixture
def manifest_of(examined):
    """Return the manifest of a network for images of some size."""

    def manifest_of(size_px, classes=("red", "green", "blue")):
        manifest = examined.record.manifest
        spec = dataclasses.replace(manifest.input, image_size_px=size_px)
        return dataclasses.replace(manifest, classes=classes, input=spec)

    return manifest_of


def decoded(shown):
    assert shown.uri.startswith("data:image/webp;base64,")
    return Image.open(io.BytesIO(base64.b64decode(shown.uri.partition(",")[2])))


def test_pictures_show_the_images_in_the_order_asked_for(manifest_of):
    colours = np.array([[250, 10, 10], [10, 250, 10], [10, 10, 250]], np.uint8)
    source = ImageArrays(np.broadcast_to(colours[:, None, None], (3, 32, 32, 3)), np.arange(3))
    shown = make_pictures(source, np.array([2, 0]), manifest_of(32), 48)
    assert [(each.name, each.truth) for each in shown] == [("image 2", "blue"), ("image 0", "red")]
    for each, colour in zip(shown, colours[[2, 0]], strict=True):
        picture = decoded(each)
        assert picture.size == (32, 32)  # small ones stay as they are
        assert np.abs(np.asarray(picture.convert("RGB")).astype(int) - colour).max() < 20


def test_large_noise_makes_small_pictures(manifest_of):
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (3, 256, 256, 3), dtype=np.uint8)
    source = ImageArrays(images, np.zeros(3, np.int64))
    shown = make_pictures(source, np.arange(3), manifest_of(256), 48)
    assert all(decoded(each).size == (48, 48) for each in shown)
    assert max(len(each.uri) for each in shown) < 4_500


def test_file_names_may_have_any_bytes(tmp_path, manifest_of):
    name = b"a/\xff<b>.png".decode("utf-8", "surrogateescape")
    (tmp_path / "a").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / name, "PNG")
    source = ImageFolder(tmp_path, np.array([name], object), np.zeros(1, np.int64))
    (shown,) = make_pictures(source, np.arange(1), manifest_of(8), 8)
    assert shown.name == "a/\\xff<b>.png"


def test_the_most_confident_come_first(examined):
    examination = examined.examination
    chosen = most_confident(examination, np.arange(20), 7)
    confidence = examination.probabilities_NK.max(axis=1)
    assert confidence[chosen].tolist() == sorted(confidence, reverse=True)[:7]


@pytest.mark.parametrize("most", [1, 5, 12, 100])
def test_images_behind_cells_are_the_cells_own_and_not_too_many(examined, most):
    examination = examined.examination
    counts = examination.counts_KK
    cells = [(int(t), int(p)) for t, p in np.argwhere(counts)]
    behind = choose_for_cells(examination, cells, max_images=most)
    assert sum(map(len, behind.values())) <= most
    for (true, predicted), indices in behind.items():
        assert 1 <= len(indices) <= min(12, counts[true, predicted])
        assert (examination.labels_N[indices] == true).all()
        assert (examination.predictions_N[indices] == predicted).all()
    if most == 100:  # enough for all
        assert sum(map(len, behind.values())) == sum(min(12, counts[cell]) for cell in cells)
