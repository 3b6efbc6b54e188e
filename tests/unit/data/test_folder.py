import shutil

import numpy as np
import pytest
from PIL import Image

from alexnet_cli.data.datasets import find_dataset, load_training
from alexnet_cli.data.folder import list_classes, load_test, load_train
from alexnet_cli.errors import DataError
from alexnet_cli.image import prepare_image

CLASSES = ("ant", "bee", "élan")


def names(folder):
    return [str(name) for name in folder.names_N]


def test_classes_are_the_folders_of_the_training_split_in_order(photos):
    (photos / "train" / ".cache").mkdir()
    (photos / "train" / "README.txt").write_text("not a class")
    shutil.rmtree(photos / "test" / "bee")  # its absence shifts no label
    assert list_classes(photos) == CLASSES
    train, test = load_train(photos, CLASSES), load_test(photos, CLASSES)
    assert names(train)[:2] == ["ant/000.png", "ant/001.JPEG"]
    assert train.labels_N.tolist() == [0] * 9 + [1] * 9 + [2] * 9
    assert names(test) == ["ant/100.png", "ant/101.JPEG", "élan/102.png", "élan/103.JPEG"]
    assert test.labels_N.tolist() == [0, 0, 2, 2]


def test_hidden_and_other_files_do_not_count_and_deeper_ones_do(photos):
    ant = photos / "train" / "ant"
    shutil.copy(ant / "000.png", ant / ".000.png")
    (ant / ".thumbnails").mkdir()
    shutil.copy(ant / "000.png", ant / ".thumbnails" / "000.png")
    (ant / "Thumbs.db").write_bytes(b"")
    (ant / "more").mkdir()
    shutil.copy(ant / "000.png", ant / "more" / "000.PNG")
    found = [name for name in names(load_train(photos, CLASSES)) if name.startswith("ant/")]
    assert len(found) == 10
    assert found[-1] == "ant/more/000.PNG"


def test_what_may_be_an_image_is_taken_or_counted(photos):
    ant, image = photos / "train" / "ant", photos / "train" / "ant" / "001.JPEG"
    for name in ("a.jfif", "b.JPE", "c.apng", "d.avif"):
        shutil.copy(image, ant / name)
    assert not load_train(photos, CLASSES).left_out
    for path in (ant / "e.heic", ant / "f.HEIC", ant / "g", photos / "train" / "loose.jpg",
                 photos / "extra" / "h.jpg"):  # fmt: skip
        path.parent.mkdir(exist_ok=True)
        shutil.copy(image, path)
    (ant / "LICENSE").write_text("not an image")
    (photos / "notes").mkdir()
    (ant / "link").symlink_to(photos / "test")
    train = load_train(photos, CLASSES)
    assert np.bincount(train.labels_N).tolist() == [13, 9, 9]
    for text in ("2 .heic files (", "1 image without a suffix (", "1 linked folder (",
                 "1 image next to the class folders (", "1 folder next to train/ ("):  # fmt: skip
        assert text in train.left_out
    assert train.left_out.count("(") == 5


def test_a_class_of_unreadable_images_says_so(photos):
    for path in (photos / "train" / "ant").iterdir():
        path.rename(path.with_suffix(".heic"))
    with pytest.raises(DataError, match=r"9 \.heic files"):
        load_train(photos, CLASSES)


def test_class_names_that_look_the_same_are_named(photos):
    (photos / "train" / "\u00e9lan").rename(photos / "train" / "e\u0301lan")
    assert len(list_classes(photos)) == 3
    shutil.copytree(photos / "train" / "e\u0301lan", photos / "train" / "\u00e9lan")
    with pytest.raises(DataError) as caught:
        list_classes(photos)
    assert r"e\u0301lan" in caught.value.message


def test_images_are_decoded_as_predict_does(photos):
    train = load_train(photos, CLASSES)
    some = train.take(np.array([3, 0, 20]))
    expected = [
        prepare_image(photos / "train" / name, image_size_px=12, crop_size_px=12)
        for name in ("ant/003.JPEG", "ant/000.png", "élan/020.png")
    ]
    np.testing.assert_array_equal(some.load_images(12), np.stack(expected))
    assert some.labels_N.tolist() == [0, 0, 2]


def test_a_folder_of_classes_alone_has_no_test_split(photos):
    dataset = find_dataset(str(photos / "train"))
    assert dataset.classes == CLASSES
    train, val = load_training(dataset, val_size=6, seed=1)
    assert (len(train), len(val)) == (21, 6)
    assert np.bincount(val.labels_N).tolist() == [2, 2, 2]
    assert not set(names(train)) & set(names(val))
    with pytest.raises(DataError, match="no test split") as caught:
        dataset.load_test()
    assert "--split val" in caught.value.hint


def test_a_dataset_is_named_by_its_absolute_path(photos, monkeypatch):
    monkeypatch.chdir(photos.parent)
    assert find_dataset("photos").name == str(photos)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_classes_are_refused_with_the_layout(tmp_path, count):
    for name in ["only", "more"][:count]:
        (tmp_path / "train" / name).mkdir(parents=True)
    with pytest.raises(DataError, match="classifier needs") as caught:
        find_dataset(str(tmp_path))
    assert "/train/CLASS/" in caught.value.hint


def test_an_empty_class_is_refused_by_name(photos):
    (photos / "train" / "cow").mkdir()
    (photos / "train" / "cow" / ".hidden.png").write_bytes(b"")
    with pytest.raises(DataError, match="cow has no image") as caught:
        load_train(photos, list_classes(photos))
    assert caught.value.code == "class_empty"


def test_a_test_class_that_was_not_trained_is_refused(photos):
    (photos / "test" / "zebra").mkdir()
    with pytest.raises(DataError, match="zebra"):
        load_test(photos, CLASSES)


def test_a_test_split_without_images_is_refused(photos):
    for name in CLASSES:
        shutil.rmtree(photos / "test" / name)
    with pytest.raises(DataError, match="no images"):
        load_test(photos, CLASSES)


def test_files_without_a_header_are_all_refused_at_once(photos):
    train = load_train(photos, CLASSES)
    train.require_headers()
    for name in ("ant/000.png", "bee/010.png"):
        (photos / "train" / name).write_bytes(b"no image")
    with pytest.raises(DataError) as caught:
        train.require_headers()
    assert "ant/000.png" in caught.value.message
    assert "bee/010.png" in caught.value.message
    (photos / "train" / "élan" / "020.png").unlink()
    with pytest.raises(DataError, match=r"no such image.*020\.png"):
        train.require_headers()


def test_damage_after_the_header_is_refused_at_decoding_by_name(photos):
    path = photos / "train" / "bee" / "011.JPEG"
    path.write_bytes(path.read_bytes()[:-900])
    train = load_train(photos, CLASSES)
    train.require_headers()
    with pytest.raises(DataError, match=r"bee/011\.JPEG") as caught:
        train.load_images(8)
    assert str(path) in caught.value.hint


def test_a_class_name_that_is_not_text_is_refused(photos):
    (photos / "train" / "a\nb").mkdir()
    with pytest.raises(DataError, match="printable"):
        list_classes(photos)


def test_odd_metadata_makes_no_warning(photos):
    palette = Image.new("P", (6, 6))
    palette.putpalette([0, 0, 0] * 3)
    palette.save(photos / "train" / "ant" / "000.png", transparency=bytes([255, 128, 0]))
    load_train(photos, CLASSES).load_images(4)  # a warning is an error in these tests


@pytest.mark.parametrize("name", ["Train", "val", "VALID", "Test"])
def test_a_class_called_like_a_split_is_refused(photos, name):
    root = photos / "train"
    (root / "ant").rename(root / name)
    with pytest.raises(DataError, match=f"{name} is named like a split") as caught:
        find_dataset(str(root))
    assert "rename it to train/" in caught.value.hint
    assert list_classes(photos) == (*sorted((name, "bee")), "élan")  # below train/ it is a class


@pytest.mark.parametrize("name", ["Val", "validation", "Test"])
def test_a_split_of_another_spelling_is_refused(photos, name):
    (photos / name).mkdir()
    with pytest.raises(
        DataError, match=f"{name} is named like a split, but it is not train/"
    ) as caught:
        find_dataset(str(photos))
    assert "val/, test/" in caught.value.hint


@pytest.mark.parametrize("name", ["val", "test"])
def test_a_file_called_like_a_split_is_refused(photos, name):
    shutil.rmtree(photos / "test")
    (photos / name).touch()
    with pytest.raises(DataError, match=f"{name} is named like a split, but it is not a folder"):
        find_dataset(str(photos))
    (photos / name).rename(photos / f"{name}.txt")
    assert find_dataset(str(photos)).classes == CLASSES


@pytest.mark.parametrize("target", [".", "..", "../.."])
def test_a_class_folder_that_links_to_its_parent_is_refused(photos, target):
    (photos / "train" / "cow").symlink_to(target)
    with pytest.raises(DataError, match="train/cow is a link to"):
        list_classes(photos)


def test_a_class_folder_may_be_a_link_to_elsewhere(photos, tmp_path):
    (photos / "train" / "bee").rename(tmp_path / "bees")
    (photos / "train" / "bee").symlink_to(tmp_path / "bees")
    assert len(load_train(photos, CLASSES)) == 27
