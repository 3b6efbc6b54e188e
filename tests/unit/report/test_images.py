import base64
import io
import shutil

import numpy as np
import pytest
from PIL import Image

from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.data.folder import ImageFolder
from alexnet_cli.errors import DataError
from alexnet_cli.report.examine import read_run
from alexnet_cli.report.images import (
    choose_for_cells,
    load_images_of,
    make_pictures,
    most_confident,
)


@pytest.fixture
def record_and_folder(make_images, make_run):
    folder = make_images(("a", "b"), per_class=16)
    return read_run(make_run(folder)), folder


def test_the_run_s_own_images_are_found_again(record_and_folder):
    train, val = load_images_of(record_and_folder[0])
    assert (len(train), len(val)) == (12, 20)


def test_a_folder_that_is_gone_is_named(record_and_folder):
    record, folder = record_and_folder
    shutil.rmtree(folder)
    with pytest.raises(DataError, match=f"the images of the run .* no folder {folder}") as raised:
        load_images_of(record)
    assert raised.value.code == "images_gone"


def test_other_images_than_those_of_the_training_are_refused(record_and_folder):
    record, folder = record_and_folder
    (folder / "a" / "0.png").rename(folder / "b" / "new.png")
    with pytest.raises(DataError, match="have changed") as raised:
        load_images_of(record)
    assert raised.value.code == "images_differ"


def test_a_class_folder_that_is_gone(record_and_folder):
    record, folder = record_and_folder
    shutil.rmtree(folder / "b")
    with pytest.raises(DataError, match="the images of the run"):
        load_images_of(record)


def decoded(shown):
    assert shown.uri.startswith("data:image/webp;base64,")
    return Image.open(io.BytesIO(base64.b64decode(shown.uri.partition(",")[2])))


def test_pictures_show_the_images_in_the_order_asked_for():
    colours = np.array([[250, 10, 10], [10, 250, 10], [10, 10, 250]], np.uint8)
    source = ImageArrays(np.broadcast_to(colours[:, None, None], (3, 32, 32, 3)), np.arange(3))
    names = ("red", "green", "blue")
    shown = make_pictures(source, np.array([2, 0]), classes=names, size_px=32, max_px=48)
    assert [(each.name, each.truth) for each in shown] == [("image 2", "blue"), ("image 0", "red")]
    for each, colour in zip(shown, colours[[2, 0]], strict=True):
        picture = decoded(each)
        assert picture.size == (32, 32)  # small ones stay as they are
        assert np.abs(np.asarray(picture.convert("RGB")).astype(int) - colour).max() < 20


def test_large_noise_makes_small_pictures():
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (3, 256, 256, 3), dtype=np.uint8)
    source = ImageArrays(images, np.zeros(3, np.int64))
    shown = make_pictures(source, np.arange(3), classes=("a",), size_px=256, max_px=48)
    assert all(decoded(each).size == (48, 48) for each in shown)
    assert max(len(each.uri) for each in shown) < 4_500


def test_file_names_of_any_bytes(tmp_path):
    name = b"a/\xff<b>.png".decode("utf-8", "surrogateescape")
    (tmp_path / "a").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / name, "PNG")
    source = ImageFolder(tmp_path, np.array([name], object), np.zeros(1, np.int64))
    shown = make_pictures(source, np.arange(1), classes=("a",), size_px=8, max_px=8)
    assert shown[0].name == "a/\\xff<b>.png"


def test_the_most_confident_come_first(examined):
    examination = examined.examination
    chosen = most_confident(examination, np.arange(20), 7)
    confidence = examination.probabilities_NK.max(axis=1)
    assert confidence[chosen].tolist() == sorted(confidence, reverse=True)[:7]


@pytest.mark.parametrize("most", [1, 5, 12, 100])
def test_images_behind_cells_are_the_cells_own_and_not_too_many(examined, most):
    examination = examined.examination
    counts = examination.confusion.counts_KK
    cells = [(int(t), int(p)) for t, p in np.argwhere(counts)]
    behind = choose_for_cells(examination, cells, max_images=most)
    assert sum(map(len, behind.values())) <= most
    for (true, predicted), indices in behind.items():
        assert 1 <= len(indices) <= min(12, counts[true, predicted])
        assert (examination.labels_N[indices] == true).all()
        assert (examination.predictions_N[indices] == predicted).all()
    if most == 100:  # enough for all
        assert sum(map(len, behind.values())) == sum(min(12, counts[cell]) for cell in cells)
