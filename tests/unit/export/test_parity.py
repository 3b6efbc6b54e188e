import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from alexnet_cli.errors import ExportError
from alexnet_cli.export.parity import MAX_LOGIT_DIFFERENCE, Compared, compare, require_parity
from alexnet_cli.inference.session import load_model
from alexnet_cli.manifest import ExportPrecision, Parity

ONNX = "model.onnx"
FP32, FP16, INT8 = ExportPrecision
NAN = float("nan")


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
