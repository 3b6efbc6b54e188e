"""The files of an export: what is in them, and that they give the same answers or are not there."""

import base64
import copy
import shutil
import sysconfig
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from safetensors import safe_open

from alexnet_cli.errors import ExportError, ModelFileError, UsageError
from alexnet_cli.export.settings import Compared, ExportSettings, Format
from alexnet_cli.export.write import (
    EXPORT_EXISTS,
    MAX_LOGIT_DIFFERENCE,
    compare,
    export_model,
    require_free,
    require_parity,
)
from alexnet_cli.inference.session import GRAPH_KEY, load_model
from alexnet_cli.manifest import METADATA_KEY, ExportPrecision, Parity, manifest_from_json
from alexnet_cli.models.build import build_network

ONNX, SHARED, SAFETENSORS = "model.onnx", "model-shared.onnx", "model.safetensors"
FP32, FP16, INT8 = ExportPrecision
NAN = float("nan")


def metadata_of(path):
    with safe_open(path, "np") as file:
        return file.metadata()


def test_no_file_names_a_path_of_this_machine(exported):
    packed = metadata_of(exported.whole / SAFETENSORS)[GRAPH_KEY]
    contents = [zlib.decompress(base64.b64decode(packed))]
    contents += [p.read_bytes() for f in (exported.whole, exported.shared) for p in f.iterdir()]
    paths = (sysconfig.get_path("purelib"), "site-packages", "/root", "/home/", "alexnet_cli/")
    for content in contents:
        assert not [path for path in paths if path.encode() in content]


@pytest.mark.parametrize(("folder", "name"), [("whole", ONNX), ("shared", SHARED)])
def test_the_manifest_is_the_same_in_both_files(exported, folder, name):
    model = onnx.load(getattr(exported, folder) / name, load_external_data=False)
    in_onnx = {entry.key: entry.value for entry in model.metadata_props}
    in_safetensors = metadata_of(getattr(exported, folder) / SAFETENSORS)
    assert in_onnx[METADATA_KEY] == in_safetensors[METADATA_KEY]
    assert manifest_from_json(in_onnx[METADATA_KEY], source="") == exported.manifest


def test_the_safetensors_hold_the_state_dict(exported):
    with safe_open(exported.whole / SAFETENSORS, "pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    expected = exported.network.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("num_images", [1, 7])
def test_every_kind_of_file_gives_the_same_bits(exported, num_images, tmp_path):
    bare = shutil.copy(exported.shared / SAFETENSORS, tmp_path / "moved.safetensors")
    files = [exported.whole / ONNX, exported.shared / SHARED, bare]
    images = exported.images_BSSC[:num_images]
    models = [load_model(file, device="cpu") for file in files]
    logits = [model.logits(images) for model in models]
    assert logits[0].shape == (num_images, 5)
    assert len({answer.tobytes() for answer in logits}) == 1
    assert len({model.probabilities(images).tobytes() for model in models}) == 1
    with torch.inference_mode():
        expected = exported.pixels(torch.from_numpy(images))
    np.testing.assert_allclose(logits[0], expected.numpy(), atol=1e-4)
    np.testing.assert_allclose(models[0].probabilities(images), expected.softmax(1), atol=1e-5)


def export(network, exported, folder, file_format=Format.ALL, **settings):
    images, settings = Compared(exported.images_BSSC), ExportSettings(file_format, **settings)
    return export_model(network, exported.manifest, folder, settings, images)


def test_a_file_of_other_content_is_not_replaced(exported, tmp_path):
    shutil.copy(exported.whole / ONNX, tmp_path)
    other = copy.deepcopy(exported.network)
    with torch.no_grad():
        other.classifier[7].bias.add_(0.1)
    with pytest.raises(UsageError) as caught:
        export(other, exported, tmp_path)
    assert caught.value.code == EXPORT_EXISTS
    assert not (tmp_path / SAFETENSORS).exists()
    assert (tmp_path / ONNX).read_bytes() == (exported.whole / ONNX).read_bytes()


def test_a_file_of_other_weights_is_refused_before_the_work(exported, tmp_path):
    manifest, settings = exported.manifest, ExportSettings(Format.ALL)
    origin = replace(manifest.provenance, epoch=manifest.provenance.epoch + 1)
    later = replace(manifest, provenance=origin)
    require_free(tmp_path, later, settings)
    for name in (ONNX, SAFETENSORS):
        path = Path(shutil.copy(exported.whole / name, tmp_path))
        require_free(tmp_path, manifest, settings)
        for _ in range(2):
            with pytest.raises(UsageError, match=name) as caught:
                require_free(tmp_path, later, settings)
            assert caught.value.code == EXPORT_EXISTS
            path.write_bytes(b"\0not a model")
        require_free(tmp_path, later, replace(settings, force=True))
        path.unlink()


def test_a_failed_export_leaves_no_file_and_spoils_none(exported, isolated):
    network = copy.deepcopy(exported.network)
    with torch.no_grad():
        network.classifier[7].weight.mul_(1e6)  # rounding alone is then above the limit
    (isolated / SAFETENSORS).write_bytes(b"older")
    with pytest.raises(ExportError, match="differs"):
        export(network, exported, isolated, force=True)
    assert [path.name for path in isolated.iterdir()] == [SAFETENSORS]
    assert (isolated / SAFETENSORS).read_bytes() == b"older"


def test_a_network_with_nan_for_an_answer_is_refused(exported, isolated):
    network = copy.deepcopy(exported.network)
    with torch.no_grad():
        network.classifier[7].bias.fill_(float("nan"))
    with pytest.raises(ModelFileError, match="not finite"):
        export(network, exported, isolated)
    assert list(isolated.iterdir()) == []


def test_an_untrained_network_can_be_exported(exported, tmp_path):
    network = build_network(exported.manifest.network)  # its biases are all zero
    written = export(network, exported, tmp_path, Format.SAFETENSORS)
    assert [file.path for file in written] == [tmp_path / SAFETENSORS]


def test_the_parity_is_in_the_manifest(exported, tmp_path):
    with torch.inference_mode():
        labels = exported.pixels(torch.from_numpy(exported.images_BSSC)).argmax(1).numpy()
    labels[:5] = (labels[:5] + 1) % 5
    images = Compared(exported.images_BSSC, labels, "drawn images")
    (written,) = export_model(
        exported.network, exported.manifest, tmp_path, ExportSettings(), images
    )
    parity = load_model(written.path, device="cpu").manifest.deployment.parity
    assert parity == written.parity
    assert (parity.num_images, parity.images, parity.top1_change) == (40, "drawn images", 0.0)
    assert (parity.num_right, parity.num_right_trained) == (35, 35)


@pytest.mark.parametrize("batch_size", [250, 7])
def test_parity_covers_all_images(exported, batch_size):
    model = load_model(exported.whole / ONNX, device="cpu")
    images = exported.images_BSSC
    parity = compare(exported.pixels, model, Compared(images), batch_size=batch_size)
    with torch.inference_mode():
        expected = exported.pixels(torch.from_numpy(images)).numpy()
    assert len(set(expected.argmax(1))) > 1
    assert parity.num_images == 40
    assert parity.num_top1_different == 0
    largest = np.abs(expected - model.logits(images)).max()
    assert parity.max_logit_difference == pytest.approx(largest, abs=1e-5)
    require_parity(parity, name=ONNX)


def test_tampered_weights_are_refused(exported, tmp_path):
    model = onnx.load(exported.whole / ONNX)
    tensor = next(t for t in model.graph.initializer if t.name == "features.4.weight")
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] += 1.0
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    onnx.save(model, tmp_path / ONNX)
    tampered = load_model(tmp_path / ONNX, device="cpu")
    parity = compare(exported.pixels, tampered, Compared(exported.images_BSSC))
    assert parity.max_logit_difference > MAX_LOGIT_DIFFERENCE
    with pytest.raises(ExportError, match=ONNX):
        require_parity(parity, name=ONNX)


@pytest.mark.parametrize(
    ("precision", "parity", "is_close"),
    [
        (FP32, Parity(9, 9e-5, 0), True),
        (FP32, Parity(9, 2e-4, 0), False),
        (FP32, Parity(9, 0.0, 1), False),
        (FP32, Parity(9, NAN, 0), False),
        (INT8, Parity(1000, 0.5, 30, "x", 770, 780), True),
        (INT8, Parity(1000, 0.5, 31, "x", 780, 780), False),
        (INT8, Parity(1000, 0.5, 30, "x", 769, 780), False),
        (INT8, Parity(16, 0.5, 1), True),
        (INT8, Parity(16, NAN, 0), False),
        (FP16, Parity(1000, 0.5, 5, "x", 777, 780), True),
        (FP16, Parity(1000, 0.5, 6), False),
    ],
)
def test_each_precision_has_its_limits(precision, parity, is_close):
    if is_close:
        require_parity(parity, name=ONNX, precision=precision)
        return
    with pytest.raises(ExportError, match=precision) as caught:
        require_parity(parity, name=ONNX, precision=precision)
    assert ("--precision fp32" in caught.value.hint) == (precision is not FP32)
