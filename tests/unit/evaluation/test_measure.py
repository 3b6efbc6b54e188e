import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.models import AlexNet_Weights

from alexnet_cli.data import imagenet, shapes
from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.data.datasets import Split, find_dataset
from alexnet_cli.data.imagenet import wordnet_ids
from alexnet_cli.data.run_images import draw_images
from alexnet_cli.errors import DataError, UsageError
from alexnet_cli.evaluation.measure import (
    common_data,
    load_measured_images,
    measure,
    predict_probabilities,
    views_of,
)
from alexnet_cli.evaluation.metrics import softmax, summarise
from alexnet_cli.evaluation.output import compare_with_first
from alexnet_cli.image import crop_centre, resize_square
from alexnet_cli.training.open_model import open_model

NUM_IMAGES = 7
LABELS = np.arange(40) % 5
TABLE = Path(imagenet.__file__).with_name("imagenet_classes.tsv")


class Recorder:
    """A simple model: logits are the mean colours of the crop."""

    def __init__(self):
        self.calls = []

    def __call__(self, crops):
        self.calls.append(crops)
        means = crops.astype(np.float32).mean(axis=(1, 2)) / 40
        means[:, 0] += crops[:, 0, 0, 0] / 60.0  # a mirrored crop answers otherwise
        return means


def draw(side):
    generator = np.random.default_rng(side)
    images = generator.integers(0, 256, (NUM_IMAGES, side, side, 3), dtype=np.uint8)
    return ImageArrays(images, generator.integers(0, 3, NUM_IMAGES))


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_every_image_counts_once_in_any_batch(exported, batch_size):
    source, model, counts = draw(12), Recorder(), []
    found = predict_probabilities(
        model, source, exported.manifest, batch_size=batch_size, on_batch=counts.append
    )
    assert max(counts) <= batch_size
    assert sum(counts) == NUM_IMAGES
    centres = source.images_NHWC[:, 2:10, 2:10]
    np.testing.assert_array_equal(np.concatenate(model.calls), centres)
    np.testing.assert_allclose(found, softmax(Recorder()(centres)), rtol=0, atol=1e-6)


def test_the_summary_follows_from_the_probabilities():
    labels = np.random.default_rng(0).integers(0, 3, 50)
    probabilities = softmax(np.random.default_rng(1).normal(size=(50, 3)))
    confusion = np.zeros((3, 3), int)
    for row, label in zip(probabilities, labels, strict=True):
        confusion[label, row.argmax()] += 1
    found = summarise(probabilities, labels, classes=("a", "b", "c"))
    assert np.array(found.confusion).tolist() == confusion.tolist()
    assert found.top1 == pytest.approx(np.trace(confusion) / 50)
    assert found.loss == pytest.approx(-np.log(probabilities[range(50), labels]).mean())
    assert (found.num_images, found.top5) == (50, 1.0)
    assert [row.num_images for row in found.classes] == confusion.sum(axis=1).tolist()


def test_images_of_another_size_are_resized_as_predict_does(exported):
    source, model = draw(30), Recorder()
    predict_probabilities(model, source, exported.manifest, batch_size=4)
    expected = [crop_centre(resize_square(image, 12), 8) for image in source.images_NHWC]
    np.testing.assert_array_equal(np.concatenate(model.calls), np.stack(expected))


def test_the_probabilities_of_ten_views_are_averaged(exported):
    source = draw(12)
    found = predict_probabilities(Recorder(), source, exported.manifest, num_views=10, batch_size=3)
    total = np.zeros((NUM_IMAGES, 3))
    for top, left in [(2, 2), (0, 0), (0, 4), (4, 0), (4, 4)]:
        crop = source.images_NHWC[:, top : top + 8, left : left + 8]
        total += softmax(Recorder()(crop)) + softmax(Recorder()(crop[:, :, ::-1]))
    np.testing.assert_allclose(found, total / 10, rtol=1e-5)


@pytest.fixture
def places():
    """Each pixel names its place: red is the image, green the row, blue the column."""
    n, y, x = np.meshgrid(np.arange(2), np.arange(9), np.arange(11), indexing="ij")
    return np.stack([n, y, x], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("num_views", [1, 5, 10])
def test_views_are_the_centre_the_corners_and_their_mirror_images(places, num_views):
    views = views_of(places, crop_size_px=4, num_views=num_views)
    assert [view.shape for view in views] == [(2, 4, 4, 3)] * num_views
    corners = [(2, 3), (0, 0), (0, 7), (5, 0), (5, 7)]  # top left of each crop of 9×11
    for view, (top, left) in zip(views, corners, strict=False):
        np.testing.assert_array_equal(view, places[:, top : top + 4, left : left + 4])
    for plain, mirrored in zip(views[:5], views[5:], strict=num_views == 10):
        np.testing.assert_array_equal(mirrored[:, :, ::-1], plain)


def test_nine_views_are_a_grid(places):
    views = views_of(places, crop_size_px=4, num_views=9)
    corners = [(top, left) for top in (0, 2, 5) for left in (0, 3, 7)]
    assert sorted(tuple(view[0, 0, 0, 1:].tolist()) for view in views) == corners
    np.testing.assert_array_equal(views[0], places[:, 2:6, 3:7])


@pytest.mark.parametrize("num_views", [0, 2, 11])
def test_other_numbers_of_views_are_refused(places, num_views):
    with pytest.raises(UsageError, match=str(num_views)) as caught:
        views_of(places, crop_size_px=4, num_views=num_views)
    assert "--views" in caught.value.hint


@pytest.fixture
def opened(exported):
    return open_model(exported.whole / "model.onnx", device="cpu")


@pytest.fixture
def images(exported):
    return ImageArrays(exported.images_BSSC, LABELS)


def test_a_measured_model_has_name_path_and_answers(opened, images):
    found = measure(opened, images, name="mine", quiet=True)
    assert (found.name, found.path) == ("mine", str(opened.path))
    assert found.probabilities_NK.shape == (40, 5)
    assert found.result.top1 == (found.probabilities_NK.argmax(axis=1) == LABELS).mean()
    assert measure(opened, images, quiet=True).name == str(opened.path)


def test_answers_of_nan_are_reported_and_count_as_wrong(opened, images, capsys):
    def overflowing(crops):
        logits = opened.logits(crops)
        logits[:3] = np.inf  # as a half-precision graph may
        return logits

    broken = replace(opened, logits=overflowing)
    found = measure(broken, images, batch_size=40, quiet=True)
    assert "3 of 40 images" in capsys.readouterr().err
    assert found.result.num_unanswered == 3
    assert np.sum(found.result.confusion) == 37
    assert sum(row.num_images for row in found.result.classes) == 40
    intact = measure(opened, images, quiet=True)
    (comparison,) = compare_with_first([intact, found], LABELS)
    assert comparison.only_second == 0
    assert comparison.only_first == (intact.probabilities_NK[:3].argmax(1) == LABELS[:3]).sum()
    assert capsys.readouterr().err == ""


@pytest.fixture
def shapes_model(exported):
    """A model, said to be trained on shapes, with the classes of shapes."""
    model = open_model(exported.whole / "model.onnx", device="cpu")
    manifest = replace(model.manifest, classes=shapes.CLASSES)
    return replace(model, path=Path("runs/a"), manifest=manifest)


@pytest.fixture
def folder_model(shapes_model, tmp_path):
    """The same, said to be trained on a folder of 100 images."""
    write_images(tmp_path / "photos", dict.fromkeys(shapes.CLASSES, 10))
    classes = tuple(sorted(shapes.CLASSES))
    model = other(shapes_model, classes=classes, data=str(tmp_path / "photos"))
    return replace(model, path=shapes_model.path)


def other(shapes_model, *, classes=None, **provenance):
    manifest = shapes_model.manifest
    changed = replace(
        manifest,
        classes=classes or manifest.classes,
        provenance=replace(manifest.provenance, **provenance),
    )
    return replace(shapes_model, path=Path("runs/b c"), manifest=changed)


def test_models_of_one_dataset_share_its_images(shapes_model):
    again = other(shapes_model, seed=99)
    assert common_data([shapes_model, again]) == "shapes"
    assert len(load_measured_images([shapes_model, again], "shapes", Split.TEST).source) == 2_000


def test_other_classes_are_named(shapes_model):
    fewer = other(shapes_model, classes=(*shapes.CLASSES[1:], "zebra"))
    with pytest.raises(UsageError) as caught:
        load_measured_images([shapes_model, fewer], "shapes", Split.TEST)
    assert caught.value.message == (
        "runs/a and runs/b c have different classes: "
        f"runs/b c lacks {shapes.CLASSES[0]} and also has zebra"
    )
    assert caught.value.hint.endswith("alexnet evaluate 'runs/b c'")
    assert caught.value.code == "classes_differ"


def test_other_data_is_refused_unless_it_is_named(shapes_model):
    with pytest.raises(
        UsageError, match="runs/a was trained on shapes, runs/b c on circles"
    ) as got:
        common_data([shapes_model, other(shapes_model, data="circles")])
    assert got.value.hint == "name one: --data shapes"
    with pytest.raises(UsageError, match="different classes"):  # which --data would not help
        common_data([shapes_model, other(shapes_model, data="circles", classes=("a", "b"))])


@pytest.mark.parametrize("provenance", [{"seed": 6}, {"val_size": 21}])
def test_images_that_only_one_held_out_are_refused(folder_model, provenance):
    with pytest.raises(UsageError, match="held out the same images") as caught:
        held_out_by_both(folder_model, other(folder_model, **provenance))
    assert caught.value.hint.endswith("alexnet evaluate runs/a 'runs/b c'")
    assert len(held_out_by_both(folder_model, other(folder_model, epoch=9))) == 20


def test_the_same_images_may_be_held_out_by_different_settings(folder_model):
    share = other(folder_model, val_size=10, val_share=0.1)
    by_default = other(folder_model, val_size=10, val_share=0.0)
    assert len(held_out_by_both(share, by_default)) == 10


def held_out_by_both(first, second):
    return load_measured_images([first, second], first.manifest.provenance.data, Split.VAL).source


def write_images(root, counts):
    """Write images of one colour, each of its own."""
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            colour = hashlib.sha256(f"{root.name} {name} {number}".encode()).digest()[:3]
            Image.new("RGB", (8, 8), tuple(colour)).save(root / name / f"{number}.png")


def labels(models, path, split=Split.TEST):
    return load_measured_images(models, str(path), split).source.labels_N.tolist()


def test_a_labelled_folder_is_a_test_set_and_need_not_have_every_class(shapes_model, tmp_path):
    photos = tmp_path / "photos"
    write_images(photos, {"ring": 2, "circle": 1})
    expected = [shapes.CLASSES.index("circle"), *[shapes.CLASSES.index("ring")] * 2]
    assert labels([shapes_model], photos) == expected
    write_images(tmp_path / "split" / "val", {"star": 1})
    assert labels([shapes_model], tmp_path / "split", Split.VAL) == [shapes.CLASSES.index("star")]
    write_images(photos, {"zebra": 1})
    with pytest.raises(UsageError, match="not classes of runs/a: zebra"):
        labels([shapes_model], photos)


def test_folders_of_wordnet_ids_are_the_classes_of_imagenet(shapes_model, tmp_path):
    write_images(tmp_path / "val", {"n01440764": 1, "n15075141": 2})  # the first and the last
    owt = other(
        shapes_model, classes=tuple(AlexNet_Weights.DEFAULT.meta["categories"]), data="imagenet"
    )
    assert labels([owt], tmp_path, Split.VAL) == [0, 999, 999]
    with pytest.raises(UsageError, match="not classes of"):
        labels([shapes_model], tmp_path, Split.VAL)


def test_imagenet_s_usual_folder_is_not_taken_for_training_images(
    shapes_model, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    write_images(Path("imagenet/val"), {"n01440764": 1})
    categories = tuple(AlexNet_Weights.DEFAULT.meta["categories"])
    owt = other(shapes_model, classes=categories, data="imagenet", images="")
    assert labels([owt], tmp_path / "imagenet", Split.VAL) == [0]


def test_each_wordnet_id_names_the_class_of_its_output():
    rows = [line.split("\t") for line in TABLE.read_text(encoding="utf-8").splitlines()]
    assert [row[0] for row in rows] == sorted(wordnet_ids())
    names = [[name.lower() for name in row[1].split(", ")] for row in rows]
    categories = [name.lower() for name in AlexNet_Weights.DEFAULT.meta["categories"]]
    differing = {k: name for k, name in enumerate(categories) if name not in names[k]}
    # torchvision tells the two cranes and the two maillots apart.
    assert differing == {134: "crane bird", 639: "maillot tank suit"}
    assert (names[134], names[639]) == (["crane"], ["maillot", "tank suit"])


def test_a_folder_inside_the_training_images_is_no_test_set(shapes_model, tmp_path):
    photos = tmp_path / "photos"
    for split in ("train", "val", "test"):
        write_images(photos / split, {"star": 1})
    trained = other(shapes_model, data=str(photos))
    with pytest.raises(UsageError) as caught:
        labels([trained], photos / "train")
    assert caught.value.code == "trained_on"
    assert len(labels([trained], photos / "test")) == 1


def trained_on(model, folder, *, val_size, **changes):
    """Return the model as if trained on a folder, and moved out of its run folder."""
    drawn = draw_images(find_dataset(str(folder)), val_size=val_size, seed=3)
    origin = {"data": str(folder), "val_size": val_size, "val_share": None, "seed": 3}
    classes = tuple(sorted(shapes.CLASSES))
    return other(model, classes=classes, images=drawn.fingerprint, **{**origin, **changes})


def test_a_copy_of_the_training_images_is_no_test_set(shapes_model, tmp_path):
    photos = tmp_path / "photos"
    write_images(photos, dict.fromkeys(shapes.CLASSES, 2))
    trained = trained_on(shapes_model, photos, val_size=10, data="/elsewhere")
    with pytest.raises(UsageError) as caught:
        labels([trained], photos)
    assert caught.value.code == "trained_on"
    assert len(labels([trained], photos, Split.VAL)) == 10
    write_images(photos / "star", {"more": 1})
    with pytest.raises(DataError) as caught:  # the split cannot be drawn again
        labels([trained], photos, Split.VAL)
    assert caught.value.code == "images_differ"
