"""Other files of the same network: native LRN, ten views, half precision, eight bits."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from alexnet_cli.errors import ExportError, UsageError
from alexnet_cli.evaluation.measure import views_of
from alexnet_cli.evaluation.metrics import softmax
from alexnet_cli.export.graph import WindowConvolution
from alexnet_cli.export.parity import Compared, require_parity
from alexnet_cli.export.settings import OPSET_VERSIONS, ExportSettings, Format
from alexnet_cli.export.write import export_model
from alexnet_cli.inference.session import load_model
from alexnet_cli.manifest import ExportPrecision, LrnForm, Parity
from alexnet_cli.models.lrn import LocalResponseNorm

ONNX = "model.onnx"


@pytest.fixture(scope="module")
def squares():
    draw = np.random.default_rng(7)
    colours, noise = draw.integers(0, 200, (20, 1, 1, 3)), draw.integers(0, 56, (20, 12, 12, 3))
    return (colours + noise).astype(np.uint8)


@pytest.fixture
def write(exported, squares, tmp_path):
    """Return a function that exports with other settings and loads what came out."""

    def export(**settings):
        written = export_model(
            exported.core, exported.manifest, tmp_path, ExportSettings(**settings),
            Compared(squares), squares[::2],
        )  # fmt: skip
        return load_model(written[-1].path, device="cpu"), onnx.load(tmp_path / ONNX)

    return export


def test_the_native_node(write, exported):
    model, graph = write(lrn_form=LrnForm.NATIVE)
    nodes = [node for node in graph.graph.node if node.op_type == "LRN"]
    assert len(nodes) == 2
    constants = {a.name: onnx.helper.get_attribute_value(a) for a in nodes[0].attribute}
    assert constants == pytest.approx({"size": 5, "alpha": 1e-4, "beta": 0.75, "bias": 2.0})
    assert model.manifest.deployment.lrn_form is LrnForm.NATIVE


@pytest.mark.parametrize("constants", [{}, {"size": 9, "alpha": 1e-3, "k": 1.0, "beta": 0.5}])
def test_the_convolution_is_the_normalisation(constants):
    norm = LocalResponseNorm(**constants)
    x = 30 * torch.randn((2, 16, 5, 4), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(WindowConvolution(norm)(x), norm(x), rtol=1e-6, atol=1e-6)


def test_ten_views_are_those_of_evaluate(write, exported, squares):
    model, _ = write(num_views=10)
    assert (model.manifest.num_views, model.manifest.input_side_px) == (10, 12)
    single = load_model(exported.whole / ONNX, device="cpu")
    views = views_of(squares, crop_size_px=8, num_views=10)
    expected = sum(softmax(single.logits(np.ascontiguousarray(view))) for view in views) / 10
    np.testing.assert_allclose(model.probabilities(squares), expected, atol=1e-6)
    np.testing.assert_allclose(softmax(model.logits(squares)), expected, atol=1e-6)
    np.testing.assert_allclose(model.logits(squares), np.log(expected), atol=1e-4)


def test_half_precision(write, exported, squares):
    model, graph = write(precision=ExportPrecision.FP16)
    names = {tensor.name: tensor.data_type for tensor in graph.graph.initializer}
    assert names["classifier.4.weight"] == onnx.TensorProto.FLOAT16
    assert (model.manifest.deployment.lrn_form, model.manifest.num_views) == (LrnForm.NATIVE, 1)
    single = load_model(exported.whole / ONNX, device="cpu")
    crops = np.ascontiguousarray(squares[:, 2:10, 2:10])
    assert model.logits(crops).dtype == np.float32
    assert 0 < np.abs(model.logits(crops) - single.logits(crops)).max() < 0.1


@pytest.mark.parametrize("opset", OPSET_VERSIONS)
def test_each_version_of_the_operators(write, opset):
    _, graph = write(opset=opset)
    assert [entry.version for entry in graph.opset_import] == [opset]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"precision": ExportPrecision.INT8, "file_format": Format.ALL}, "self-contained"),
        ({"precision": ExportPrecision.FP16, "shared_weights": True}, "self-contained"),
        ({"file_format": Format.SAFETENSORS, "shared_weights": True}, "--shared-weights"),
        ({"num_views": 5}, "5 views"),
        ({"opset": 7}, "--opset 7"),
        ({"lrn_form": LrnForm.NONE}, "left out"),
    ],
)
def test_settings_that_contradict_themselves(settings, words):
    with pytest.raises(UsageError, match=words) as caught:
        ExportSettings(**settings).check()
    assert caught.value.hint


def test_eight_bits_need_images(exported, squares, tmp_path):
    settings = ExportSettings(precision=ExportPrecision.INT8)
    with pytest.raises(UsageError, match="training images") as caught:
        export_model(exported.core, exported.manifest, tmp_path, settings, Compared(squares))
    assert "--data" in caught.value.hint
    assert list(tmp_path.glob("*.*")) == []


@pytest.mark.parametrize(
    ("precision", "parity", "is_right"),
    [
        (ExportPrecision.INT8, Parity(1000, 0.5, 30, "x", 770, 780), True),
        (ExportPrecision.INT8, Parity(1000, 0.5, 31, "x", 780, 780), False),
        (ExportPrecision.INT8, Parity(1000, 0.5, 30, "x", 769, 780), False),
        (ExportPrecision.INT8, Parity(16, 0.5, 1), True),
        (ExportPrecision.INT8, Parity(16, float("nan"), 0), False),
        (ExportPrecision.FP16, Parity(1000, 0.5, 5, "x", 777, 780), True),
        (ExportPrecision.FP16, Parity(1000, 0.5, 6), False),
    ],
)
def test_limits_of_the_precisions(precision, parity, is_right):
    if is_right:
        require_parity(parity, name=ONNX, precision=precision)
        return
    with pytest.raises(ExportError, match=precision) as caught:
        require_parity(parity, name=ONNX, precision=precision)
    assert "--precision fp32" in caught.value.hint


def test_the_parity_is_in_the_manifest(exported, squares, tmp_path):
    with torch.inference_mode():
        crops = np.ascontiguousarray(squares[:, 2:10, 2:10])
        labels = exported.pixels(torch.from_numpy(crops)).argmax(1).numpy()
    labels[:5] = (labels[:5] + 1) % 5
    images = Compared(squares, labels, "drawn images")
    (written,) = export_model(exported.core, exported.manifest, tmp_path, ExportSettings(), images)
    parity = load_model(written.path, device="cpu").manifest.deployment.parity
    assert parity == written.parity
    assert (parity.num_images, parity.images, parity.top1_change) == (20, "drawn images", 0.0)
    assert (parity.num_right, parity.num_right_trained) == (15, 15)
    assert replace(parity, num_right=14).top1_change == pytest.approx(-0.05)
