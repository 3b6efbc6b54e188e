import json
import os
import shutil
import signal
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from alexnet_cli.errors import ModelFileError, UsageError
from alexnet_cli.inference.providers import ORT_ERRORS
from alexnet_cli.inference.session import WEIGHTS_FILE_KEY, Model, load_model, read_safetensors
from alexnet_cli.manifest import METADATA_KEY

ONNX, SHARED, SAFETENSORS = "model.onnx", "model-shared.onnx", "model.safetensors"
CUTS = np.linspace(0, 0.999, 16)


def refuse(path, **options):
    with pytest.raises(ModelFileError, match=path.name) as caught:
        load_model(path, device="cpu", **options)
    assert "alexnet export" in caught.value.hint
    return caught.value


def rewritten(exported, path, *, manifest=None):
    """Write the exported graph with another manifest, or none."""
    model = onnx.load(exported.whole / ONNX)
    del model.metadata_props[:]
    if manifest is not None:
        entry = model.metadata_props.add()
        entry.key, entry.value = METADATA_KEY, manifest
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("name", [ONNX, SAFETENSORS])
@pytest.mark.parametrize(
    "content", [None, b"", b"\0", b"garbage" * 99, b"\xff" * 300, bytes(range(256)) * 4]
)
def test_a_missing_file_or_garbage(tmp_path, name, content):
    (tmp_path / "folder").mkdir()
    if content is None:
        assert refuse(tmp_path / name).code == refuse(tmp_path / "folder").code == "model_missing"
        return
    (tmp_path / name).write_bytes(content)
    refuse(tmp_path / name)


@pytest.mark.parametrize("share", CUTS)
@pytest.mark.parametrize("name", [ONNX, SAFETENSORS, "header"])
def test_a_file_cut_short(exported, tmp_path, name, share):
    path = tmp_path / name.replace("header", SAFETENSORS)
    content = (exported.whole / path.name).read_bytes()
    (header_bytes,) = struct.unpack("<Q", content[:8])
    num_bytes = 8 + header_bytes if name == "header" else len(content)
    path.write_bytes(content[: int(num_bytes * share)])
    refuse(path)


def forged(path, header, data=b"\0" * 16):
    raw = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + data)
    return path


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F16", "shape": [4], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [4], "data_offsets": [0, 20]},
        {"dtype": "F32", "shape": [4], "data_offsets": [-8, 8]},
        {"dtype": "F32", "shape": [5], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [4], "data_offsets": [0, 15]},
        {"dtype": "F32", "shape": ["4"], "data_offsets": [0, 16]},
        {"dtype": "F32", "shape": [4], "data_offsets": [0.0, 16.0]},
        {"dtype": "F32", "shape": [4]},
        {"dtype": "F32", "shape": [1 << 70], "data_offsets": [0, 16]},
        [],
        None,
    ],
    ids=str,
)
def test_a_safetensors_header_that_lies(tmp_path, entry):
    with pytest.raises(ModelFileError):
        read_safetensors(forged(tmp_path / SAFETENSORS, {"weight": entry}))


def test_safetensors_are_read_as_views_of_the_file(tmp_path):
    values = np.arange(6, dtype=np.float32)
    entries = {
        "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [16, 24]},
    }
    header, found = read_safetensors(forged(tmp_path / "x.y", entries, values.tobytes()))
    assert header == entries
    assert found["a"].tolist() == [[0, 1], [2, 3]]
    assert found["b"].tolist() == [4, 5]


@pytest.fixture
def shared(exported, tmp_path):
    """A copy of a graph and of the weights beside it."""
    for file in (SHARED, SAFETENSORS):
        shutil.copy(exported.shared / file, tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", [SHARED, SAFETENSORS])
def test_damaged_weights_are_found_where_many_answers_follow(shared, name):
    damaged = bytearray((shared / SAFETENSORS).read_bytes())
    damaged[-1000] ^= 1
    (shared / SAFETENSORS).write_bytes(damaged)
    with pytest.raises(ModelFileError, match=r"model\.safetensors \(its weights are damaged"):
        load_model(shared / name, device="cpu")
    load_model(shared / name, device="cpu", for_many=False)  # it would take too long


@pytest.mark.parametrize("name", ["", "other.safetensors", "n\0ul", "..", SHARED])
def test_a_graph_that_names_other_weights(shared, name):
    model = onnx.load(shared / SHARED, load_external_data=False)
    (entry,) = [prop for prop in model.metadata_props if prop.key == WEIGHTS_FILE_KEY]
    entry.value = entry.value.replace(SAFETENSORS, name)
    (shared / SHARED).write_bytes(model.SerializeToString())
    refuse(shared / SHARED)


@pytest.mark.parametrize(
    ("text", "damaged"), [(b"images", b"im\xffges"), (b'"bee"', b'"b\xffe"')], ids=["name", "class"]
)
def test_text_that_is_not_utf8(shared, text, damaged):
    (shared / SHARED).write_bytes((shared / SHARED).read_bytes().replace(text, damaged))
    refuse(shared / SHARED)


@pytest.mark.parametrize("manifest", [None, "", "{}", "[1]", '{"schema": 99}'])
def test_onnx_without_a_valid_manifest(exported, tmp_path, manifest):
    path = rewritten(exported, tmp_path / ONNX, manifest=manifest)
    assert refuse(path).code == "manifest_invalid"


def test_a_manifest_of_no_export_or_of_another_interface(exported, tmp_path):
    right = exported.manifest
    undeployed = replace(right, deployment=None)
    other_size = replace(
        right,
        network=replace(right.network, crop_size_px=9),
        input=replace(right.input, crop_size_px=9),
    )
    fewer_classes = replace(
        right, network=replace(right.network, num_classes=4), classes=right.classes[:4]
    )
    for manifest in (undeployed, other_size, fewer_classes):
        path = rewritten(exported, tmp_path / ONNX, manifest=manifest.to_json())
        error = refuse(path)
        assert manifest.deployment is None or "inputs and outputs" in error.message
    path = rewritten(exported, tmp_path / ONNX, manifest=right.to_json())
    assert load_model(path, device="cpu").manifest == right


def test_safetensors_of_someone_else(tmp_path):
    entry = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
    error = refuse(forged(tmp_path / SAFETENSORS, {"weight": entry}))
    assert "alexnet export" in error.message


def test_a_shared_graph_beside_damaged_weights_has_one_short_line(exported, tmp_path):
    shutil.copy(exported.shared / SHARED, tmp_path)
    refuse(tmp_path / SHARED)  # there are no weights
    weights = (exported.shared / SAFETENSORS).read_bytes()
    (tmp_path / SAFETENSORS).write_bytes(weights[: len(weights) // 2])
    message = refuse(tmp_path / SHARED).message.replace(str(tmp_path), "")
    assert "(its weights file is truncated, or from another export)" in message
    assert len(message) < 250
    assert not [noise for noise in (".cc", "::", "[", "\n") if noise in message]


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        (ONNX, "--format onnx"),
        (SAFETENSORS, "--format safetensors"),
        ("model-int8-10views.onnx", "--format onnx --precision int8 --views 10"),
        (SHARED, "--format onnx --shared-weights"),
    ],
)
def test_the_hint_exports_the_run_that_the_file_lies_in(tmp_path, name, flags):
    run = tmp_path / "my run"
    (run / "checkpoints").mkdir(parents=True)
    assert refuse(run / name).hint.endswith(f"alexnet export '{run}' {flags}")
    (run / name).write_bytes(b"garbage" * 9)
    assert refuse(run / name).hint.endswith(f"alexnet export '{run}' {flags} --force")


@pytest.mark.parametrize("name", [ONNX, SAFETENSORS])
def test_loading_for_one_answer_gives_the_same_one(exported, name):
    images = exported.images_BSSC[:3]
    quick, thorough = (
        load_model(exported.whole / name, device="cpu", for_many=flag).logits(images)
        for flag in (False, True)
    )
    np.testing.assert_allclose(quick, thorough, atol=1e-5)


def test_an_unknown_device_is_a_usage_error(exported):
    with pytest.raises(UsageError, match="unknown device"):
        load_model(exported.whole / ONNX, device="gpu")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Failed to allocate memory for requested buffer", MemoryError), ("other", ModelFileError)],
)
def test_too_little_memory_is_not_the_models_fault(text, expected, exported):
    class Session:
        def run(self, _outputs, _images):
            raise ORT_ERRORS[0](text)

    manifest = load_model(exported.whole / ONNX).manifest
    with pytest.raises(expected):
        Model(Session(), manifest, Path(ONNX), None).logits(np.zeros((1, 8, 8, 3)))


@pytest.mark.parametrize("answer", [[1.5, -0.5], [0.5, 2.0]])
def test_probabilities_that_are_none_are_refused(answer, exported):
    class Session:
        def run(self, _outputs, _images):
            return (np.array([answer], np.float32),)

    manifest = load_model(exported.whole / "model.onnx").manifest
    with pytest.raises(ModelFileError):
        Model(Session(), manifest, Path("model.onnx"), None).probabilities(np.zeros((1, 8, 8, 3)))


@pytest.mark.parametrize("name", ["model.onnx", "model.safetensors"])
def test_a_file_is_known_by_its_content(name, exported, tmp_path):
    expected = load_model(exported.whole / name).manifest
    for other in ("0a1b2c", name.upper(), os.fsdecode(b"mod\xe8le"), "model.v1"):
        (tmp_path / other).symlink_to(exported.whole / name)
        assert load_model(tmp_path / other).manifest == expected, other


def endless(exported, path):
    """Write a graph with the interface of an export, whose loop goes on for centuries."""
    model = onnx.load(exported.whole / ONNX)
    helper, kind = onnx.helper, onnx.TensorProto
    values = {
        name: helper.make_tensor_value_info(name, element, [])
        for name, element in (
            ("number", kind.INT64), ("more", kind.BOOL), ("still", kind.BOOL),
            ("value", kind.FLOAT), ("next", kind.FLOAT),
        )
    }  # fmt: skip
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["more"], ["still"]),
            helper.make_node("Sin", ["value"], ["next"]),
        ],
        "body",
        [values[name] for name in ("number", "more", "value")],
        [values[name] for name in ("still", "next")],
    )
    for node in model.graph.node:
        if "probabilities" in node.output:
            node.output[:] = ["answer"]
    for name, value in (("count", np.array(1 << 60)), ("true", np.array(True))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    model.graph.node.extend(
        [
            helper.make_node("Cast", ["images"], ["floats"], to=kind.FLOAT),
            helper.make_node("ReduceMax", ["floats"], ["highest"], keepdims=0),
            helper.make_node("Loop", ["count", "true", "highest"], ["last"], body=body),
            helper.make_node("Add", ["answer", "last"], ["probabilities"]),
        ]
    )
    onnx.save(model, path)


def test_a_model_that_never_ends_can_be_interrupted(exported, tmp_path):
    endless(exported, tmp_path / "m.onnx")
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    command = [sys.executable, "-m", "alexnet_cli", "predict", "a.png", "-m", "m.onnx"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert "predicting" in process.stderr.readline()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=60)[1] == "interrupted\n"
    assert process.returncode == 130
