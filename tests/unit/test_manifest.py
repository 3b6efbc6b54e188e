import copy
import functools
import json
import operator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alexnet_cli.errors import ModelFileError
from alexnet_cli.manifest import (
    Deployment,
    ExportPrecision,
    InputSpec,
    LrnForm,
    Manifest,
    Parity,
    Provenance,
    data_title,
    manifest_from_json,
)
from alexnet_cli.networks import Network, NetworkSpec

MANIFEST = Manifest(
    network=NetworkSpec(Network.ALEXNET_CIFAR, num_classes=3, crop_size_px=28, dropout=0.25),
    input=InputSpec(32, 28, scale=(0.017, 0.0171, 1 / 3), shift=(-1.9, 0.0, 1e-7)),
    classes=("cat", "Käse 🧀", 'quote " and \\'),
    provenance=Provenance(
        data="shapes",
        seed=7,
        val_size=500,
        epoch=3,
        val_top1=0.8125,
        config_sha256="ab" * 32,
        versions={"torch": "2.11"},
    ),
    deployment=Deployment(
        ExportPrecision.FP16,
        10,
        20,
        LrnForm.NATIVE,
        {"onnx": "1.19"},
        0,
        Parity(9, 1e-6, 0, "x", 8, 9),
    ),
)
RAW = json.loads(MANIFEST.to_json())


def paths_in(node, path=()):
    """Every place in a JSON document, the root included."""
    yield path
    if isinstance(node, dict | list):
        for key, child in node.items() if isinstance(node, dict) else enumerate(node):
            yield from paths_in(child, (*path, key))


PATHS = list(paths_in(RAW))
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from(["alexnet", "", 10**400, -1, 0, 1e300]),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)


def replaced(path, value):
    """A document with another value at a place, or with none for `...`."""
    if not path:
        return value
    raw = copy.deepcopy(RAW)
    *parents, last = path
    node = functools.reduce(operator.getitem, parents, raw)
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return raw


def test_json_and_back_is_the_same_manifest():
    text = MANIFEST.to_json()
    assert "\n" not in text
    assert manifest_from_json(text, source="model.onnx") == MANIFEST
    assert (MANIFEST.num_views, MANIFEST.input_side_px) == (10, 32)
    checkpoint = replace(MANIFEST, deployment=None)
    assert manifest_from_json(checkpoint.to_json(), source="state.json") == checkpoint
    assert (checkpoint.num_views, checkpoint.input_side_px) == (1, 28)


def test_paths_of_earlier_versions_are_not_passed_on():
    raw = copy.deepcopy(RAW)
    raw["provenance"] |= {"data": "/home/me/photos", "init": "/home/me/runs/first"}
    origin = manifest_from_json(json.dumps(raw), source="model.onnx").provenance
    assert (origin.data, origin.init) == ("photos/", "first")
    for name, title in (("cifar10", "cifar10"), ("/data/cifar10", "cifar10/"), ("a/", "a/")):
        assert data_title(name) == title


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in PATHS
        if path and isinstance(path[-1], str) and path[-1] not in ("torch", "onnx", "val_share")
    ],
    ids=str,
)
def test_every_missing_field_is_named(path):
    with pytest.raises(ModelFileError) as caught:
        manifest_from_json(json.dumps(replaced(path, ...)), source="model.onnx")
    assert f"missing '{path[-1]}'" in caught.value.message
    assert caught.value.message.startswith("model.onnx ")
    assert caught.value.code == "manifest_invalid"
    assert "alexnet export" in caught.value.hint


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "6"),
        (("schema",), 6.0),
        (("classes",), ["cat"] * len(MANIFEST.classes)),
        (("deployment", "precision"), "fp64"),
        (("deployment", "num_views"), 5),
        (("deployment", "parity", "num_images"), 0),
        (("network", "name"), "resnet"),
        (("network", "num_classes"), 4),
        (("network", "num_classes"), 3.0),
        (("network", "num_classes"), True),
        (("network", "crop_size_px"), 24),
        (("network", "dropout"), "0.5"),
        (("input", "crop_size_px"), 33),
        (("input", "image_size_px"), 27),
        (("input", "image_size_px"), 100_000),
        (("input", "scale"), [1, 2]),
        (("input", "shift"), [0, 0, float("nan")]),
        (("input", "shift"), [0, 0, float("inf")]),
        (("classes",), ["cat", "dog"]),
        (("classes",), []),
        (("classes",), "abc"),
        (("classes", 1), 7),
        (("classes", 1), "\ud800"),
        (("provenance", "versions"), []),
        (("provenance", "versions", "torch"), 2),
        (("provenance", "val_top1"), 10**400),
        (("network", "lrn"), 1),
        (("deployment",), []),
        (("provenance", "seed"), None),
        (("provenance", "val_share"), 1),
        (("provenance", "val_share"), -0.1),
    ],
    ids=str,
)
def test_a_field_that_cannot_be_right_is_refused(path, value):
    with pytest.raises(ModelFileError):
        manifest_from_json(json.dumps(replaced(path, value)), source="model.onnx")


@pytest.mark.parametrize(("share", "setting"), [(None, 500), (0, None), (0.2, 0.2)])
def test_the_setting_of_the_split_is_known(share, setting):
    raw = replaced(("provenance", "val_share"), share)
    manifest = manifest_from_json(json.dumps(raw), source="model.onnx")
    assert manifest.provenance.val_setting == setting


def test_files_of_versions_without_shares_are_read():
    raw = replaced(("provenance", "val_share"), ...)
    assert manifest_from_json(json.dumps(raw), source="model.onnx") == MANIFEST


@given(path=st.sampled_from(PATHS), value=VALUES)
def test_one_replaced_value_gives_a_manifest_or_an_error(path, value):
    try:
        manifest = manifest_from_json(json.dumps(replaced(path, value)), source="model.onnx")
    except ModelFileError:
        return
    assert manifest_from_json(manifest.to_json(), source="again") == manifest


@pytest.mark.parametrize(
    ("text", "message"),
    [(json.dumps(RAW | {"schema": n}), f"schema {n}, this version reads 6") for n in (5, 7)]
    + [
        (text, "has no valid alexnet manifest")
        for text in ("", "null", "[]", "7", "{", '"text"', "[" * 100_000)
    ],
    ids=str,
)
def test_text_that_is_not_a_manifest_is_refused(text, message):
    with pytest.raises(ModelFileError, match=rf"model\.onnx .*{message}"):
        manifest_from_json(text, source="model.onnx")
