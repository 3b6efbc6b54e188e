from dataclasses import replace
from pathlib import Path

import pytest

from alexnet_cli.data import shapes
from alexnet_cli.data.datasets import Split
from alexnet_cli.errors import UsageError
from alexnet_cli.evaluation.common_images import common_data, load_images
from alexnet_cli.training.open_model import open_model


@pytest.fixture
def opened(exported):
    """A model, said to be trained on shapes, with the classes of shapes."""
    model = open_model(exported.whole / "model.onnx", device="cpu")
    manifest = replace(model.manifest, classes=shapes.CLASSES)
    return replace(model, path=Path("runs/a"), manifest=manifest)


def other(opened, *, classes=None, **provenance):
    manifest = opened.manifest
    changed = replace(
        manifest,
        classes=classes or manifest.classes,
        provenance=replace(manifest.provenance, **provenance),
    )
    return replace(opened, path=Path("runs/b c"), manifest=changed)


def test_models_of_one_dataset_share_its_images(opened):
    again = other(opened, seed=99)
    assert common_data([opened, again]) == "shapes"
    assert len(load_images([opened, again], "shapes", Split.TEST)) == 2_000


def test_other_classes_are_named(opened):
    fewer = other(opened, classes=(*shapes.CLASSES[1:], "zebra"))
    with pytest.raises(UsageError) as caught:
        load_images([opened, fewer], "shapes", Split.TEST)
    assert caught.value.message == (
        "runs/a and runs/b c have different classes: "
        f"runs/b c lacks {shapes.CLASSES[0]} and also has zebra"
    )
    assert caught.value.hint.endswith("alexnet evaluate 'runs/b c'")
    assert caught.value.code == "classes_differ"


def test_other_data_is_refused_unless_it_is_named(opened):
    with pytest.raises(
        UsageError, match="runs/a was trained on shapes, runs/b c on circles"
    ) as got:
        common_data([opened, other(opened, data="circles")])
    assert got.value.hint == "name one: --data shapes"
    with pytest.raises(UsageError, match="different classes"):  # which --data would not help
        common_data([opened, other(opened, data="circles", classes=("a", "b"))])


@pytest.mark.parametrize("provenance", [{"seed": 6}, {"val_size": 21}])
def test_images_that_only_one_held_out_are_refused(opened, provenance):
    with pytest.raises(UsageError, match="held out the same images") as caught:
        load_images([opened, other(opened, **provenance)], "shapes", Split.VAL)
    assert caught.value.hint.endswith("alexnet evaluate runs/a 'runs/b c'")
    assert len(load_images([opened, other(opened, epoch=9)], "shapes", Split.VAL)) == 20


def test_the_same_images_may_be_held_out_by_different_settings(opened):
    share = other(opened, val_size=1_000, val_share=0.1)
    by_default = other(opened, val_size=1_000, val_share=0.0)
    assert len(load_images([share, by_default], "shapes", Split.VAL)) == 1_000
