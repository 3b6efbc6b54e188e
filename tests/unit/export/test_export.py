import base64
import copy
import shutil
import sysconfig
import zlib
from collections import Counter

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from safetensors import safe_open

from alexnet_cli.errors import ExportError, ModelFileError
from alexnet_cli.export.parity import MAX_LOGIT_DIFFERENCE, Compared, compare, require_parity
from alexnet_cli.export.settings import ExportSettings, Format
from alexnet_cli.export.write import export_model
from alexnet_cli.inference.session import GRAPH_KEY, load_model
from alexnet_cli.manifest import METADATA_KEY, Parity, manifest_from_json
from alexnet_cli.models.build import build_network

ONNX, SAFETENSORS = "model.onnx", "model.safetensors"


def metadata_of(path):
    with safe_open(path, "np") as file:
        return file.metadata()


@pytest.mark.parametrize("folder", ["whole", "shared"])
def test_the_graph(exported, folder):
    path = getattr(exported, folder) / ONNX
    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path, load_external_data=False)
    assert model.ir_version == 10
    assert [(i.domain, i.version) for i in model.opset_import if i.domain == ""] == [("", 20)]
    operators = Counter(node.op_type for node in model.graph.node)
    assert (operators["LRN"], operators["Conv"], operators["Gemm"]) == (0, 5, 3)
    assert operators["MatMul"] == 2
    assert {node.domain for node in model.graph.node} == {""}
    assert set(exported.core.state_dict()) <= {tensor.name for tensor in model.graph.initializer}
    batch = [value.type.tensor_type.shape.dim[0].dim_param for value in model.graph.input]
    assert batch == ["batch"]


def test_no_file_tells_where_it_was_made(exported):
    packed = metadata_of(exported.whole / SAFETENSORS)[GRAPH_KEY]
    contents = [zlib.decompress(base64.b64decode(packed))]
    contents += [p.read_bytes() for f in (exported.whole, exported.shared) for p in f.iterdir()]
    paths = (sysconfig.get_path("purelib"), "site-packages", "/root", "/home/", "alexnet_cli/")
    for content in contents:
        assert not [path for path in paths if path.encode() in content]


@pytest.mark.parametrize("folder", ["whole", "shared"])
def test_the_manifest_is_the_same_in_both_files(exported, folder):
    model = onnx.load(getattr(exported, folder) / ONNX, load_external_data=False)
    in_onnx = {entry.key: entry.value for entry in model.metadata_props}
    in_safetensors = metadata_of(getattr(exported, folder) / SAFETENSORS)
    assert in_onnx[METADATA_KEY] == in_safetensors[METADATA_KEY]
    assert manifest_from_json(in_onnx[METADATA_KEY], source="") == exported.manifest


def test_the_safetensors_hold_the_state_dict(exported):
    with safe_open(exported.whole / SAFETENSORS, "pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    expected = exported.core.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("num_images", [1, 7])
def test_every_kind_of_file_gives_the_same_bits(exported, num_images, tmp_path):
    bare = shutil.copy(exported.shared / SAFETENSORS, tmp_path / "moved.safetensors")
    files = [exported.whole / ONNX, exported.shared / ONNX, bare]
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


def test_the_shared_graph_is_small(exported):
    assert (exported.shared / ONNX).stat().st_size < 50_000


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
    assert parity.max_logit_difference < 1e-4
    require_parity(parity, name=ONNX)


@pytest.mark.parametrize("name", ["features.4.weight", "classifier.7.bias"])
def test_tampered_weights_are_refused(exported, name, tmp_path):
    model = onnx.load(exported.whole / ONNX)
    tensor = next(t for t in model.graph.initializer if t.name == name)
    values = numpy_helper.to_array(tensor).copy()
    values.flat[0] += 1.0
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    onnx.save(model, tmp_path / ONNX)
    tampered = load_model(tmp_path / ONNX, device="cpu")
    parity = compare(exported.pixels, tampered, Compared(exported.images_BSSC))
    assert parity.max_logit_difference > MAX_LOGIT_DIFFERENCE
    with pytest.raises(ExportError, match=ONNX):
        require_parity(parity, name=ONNX)


@pytest.mark.parametrize(
    "parity", [Parity(9, 2e-4, 0), Parity(9, 0.0, 1), Parity(9, float("nan"), 0)]
)
def test_each_figure_can_refuse(parity):
    with pytest.raises(ExportError):
        require_parity(parity, name="x")


def export(core, exported, folder, file_format=Format.ALL, **others):
    calibration = others.pop("calibration", None)
    settings = ExportSettings(file_format, **others)
    images = Compared(exported.images_BSSC)
    return export_model(core, exported.manifest, folder, settings, images, calibration)


def test_a_failed_export_leaves_no_file_and_spoils_none(exported, tmp_path):
    core = copy.deepcopy(exported.core)
    with torch.no_grad():
        core.classifier[7].weight.mul_(1e6)  # rounding alone is then above the limit
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / SAFETENSORS).write_bytes(b"older")
    with pytest.raises(ExportError, match="differs"):
        export(core, exported, folder)
    assert [path.name for path in folder.iterdir()] == [SAFETENSORS]
    assert (folder / SAFETENSORS).read_bytes() == b"older"


def test_a_network_whose_answers_are_no_numbers_is_refused(exported, tmp_path):
    core = copy.deepcopy(exported.core)
    with torch.no_grad():
        core.classifier[7].bias.fill_(float("nan"))
    with pytest.raises(ModelFileError, match="not finite"):
        export(core, exported, tmp_path)
    assert list(tmp_path.glob("*.*")) == []


def test_a_fresh_network_can_be_exported(exported, tmp_path):
    core = build_network(exported.manifest.network)
    written = export(core, exported, tmp_path, Format.SAFETENSORS)
    assert [file.path for file in written] == [tmp_path / SAFETENSORS]
