"""The graph: its operators, forms of normalisation, views, and versions of the operators."""

from collections import Counter
from math import inf

import numpy as np
import onnx
import pytest
import torch

from alexnet_cli.errors import UsageError
from alexnet_cli.evaluation.measure import views_of
from alexnet_cli.evaluation.metrics import softmax
from alexnet_cli.export.graph import WindowConvolution
from alexnet_cli.export.settings import OPSET_VERSION, OPSET_VERSIONS, Compared, ExportSettings
from alexnet_cli.export.write import export_model
from alexnet_cli.inference.session import load_model
from alexnet_cli.manifest import ExportPrecision, LrnForm
from alexnet_cli.models.lrn import LocalResponseNorm

ONNX = "model.onnx"


@pytest.fixture(scope="module")
def squares():
    draw = np.random.default_rng(7)
    colours, noise = draw.integers(0, 200, (20, 1, 1, 3)), draw.integers(0, 56, (20, 12, 12, 3))
    return (colours + noise).astype(np.uint8)


@pytest.fixture
def write(exported, squares, isolated):
    """Return a function that exports with other settings and loads the result."""

    def export(**settings):
        (written,) = export_model(
            exported.network, exported.manifest, isolated, ExportSettings(**settings),
            Compared(squares),
        )  # fmt: skip
        return load_model(written.path, device="cpu"), onnx.load(written.path)

    return export


@pytest.mark.parametrize(
    ("name", "max_bytes"), [("whole/model.onnx", inf), ("shared/model-shared.onnx", 50_000)]
)
def test_the_graph_has_standard_operators_and_named_weights(exported, name, max_bytes):
    path = exported.whole.parent / name
    assert path.stat().st_size < max_bytes
    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path, load_external_data=False)
    assert model.ir_version == 10
    assert [(i.domain, i.version) for i in model.opset_import if i.domain == ""] == [("", 20)]
    operators = Counter(node.op_type for node in model.graph.node)
    assert (operators["LRN"], operators["Conv"], operators["Gemm"]) == (0, 5, 3)
    assert operators["MatMul"] == 2
    assert {node.domain for node in model.graph.node} == {""}
    assert set(exported.network.state_dict()) <= {tensor.name for tensor in model.graph.initializer}
    batch = [value.type.tensor_type.shape.dim[0].dim_param for value in model.graph.input]
    assert batch == ["batch"]


def test_the_native_form_is_an_lrn_node(write):
    model, graph = write(lrn_form=LrnForm.NATIVE)
    nodes = [node for node in graph.graph.node if node.op_type == "LRN"]
    assert len(nodes) == 2
    constants = {a.name: onnx.helper.get_attribute_value(a) for a in nodes[0].attribute}
    assert constants == pytest.approx({"size": 5, "alpha": 1e-4, "beta": 0.75, "bias": 2.0})
    assert model.manifest.deployment.lrn_form is LrnForm.NATIVE


@pytest.mark.parametrize("constants", [{}, {"size": 9, "alpha": 1e-3, "k": 1.0, "beta": 0.5}])
def test_the_convolution_equals_the_normalisation(constants):
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


def test_half_precision_has_no_convolution_for_the_normalisation(write):
    with pytest.raises(UsageError):
        write(precision=ExportPrecision.FP16, lrn_form=LrnForm.CONVOLUTION)


def test_half_precision_keeps_float32_outputs(write, exported, squares):
    model, graph = write(precision=ExportPrecision.FP16)
    types = {tensor.name: tensor.data_type for tensor in graph.graph.initializer}
    assert types["classifier.4.weight"] == onnx.TensorProto.FLOAT16
    assert (model.manifest.deployment.lrn_form, model.manifest.num_views) == (LrnForm.NATIVE, 1)
    single = load_model(exported.whole / ONNX, device="cpu")
    crops = np.ascontiguousarray(squares[:, 2:10, 2:10])
    assert model.logits(crops).dtype == np.float32
    assert 0 < np.abs(model.logits(crops) - single.logits(crops)).max() < 0.1


@pytest.mark.parametrize(
    "opset",
    [
        opset if opset == OPSET_VERSIONS[0] else pytest.param(opset, marks=pytest.mark.slow)
        for opset in OPSET_VERSIONS
        if opset != OPSET_VERSION
    ],
)
def test_every_other_opset_can_be_written(write, opset):
    _, graph = write(opset=opset)
    assert [entry.version for entry in graph.opset_import] == [opset]


def test_int8_without_calibration_images_is_refused(write, isolated):
    with pytest.raises(UsageError, match="training images") as caught:
        write(precision=ExportPrecision.INT8)
    assert "--data" in caught.value.hint
    assert list(isolated.iterdir()) == []
