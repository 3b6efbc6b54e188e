"""fp16 files of every network; int8 files, accurate and alike on every processor and in batches."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from alexnet_cli.devices import processor_kind
from alexnet_cli.export.graph import with_views
from alexnet_cli.export.settings import Compared, ExportSettings, Format
from alexnet_cli.export.write import export_model
from alexnet_cli.image import crop_centre
from alexnet_cli.inference.session import load_model
from alexnet_cli.manifest import ExportPrecision
from alexnet_cli.models.build import PixelNetwork
from alexnet_cli.networks import Network, network_spec
from benchmarks import avx2
from tests.made_runs import export_drawn

_QUICK = Network.CUDA_CONVNET_18PCT  # it squares what it has pooled


@pytest.mark.parametrize("num_views", [1, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "network",
    [each if each is _QUICK else pytest.param(each, marks=pytest.mark.slow) for each in Network],
)
def test_every_network_can_be_written_in_fp16(network, num_views, tmp_path):
    crop_px = network.info.own_crop_px(network.info.image_size_px)
    spec = network_spec(network, num_classes=10, crop_size_px=crop_px)
    images = export_drawn(
        spec, tmp_path, precision=ExportPrecision.FP16, num_views=num_views,
        file_format=Format.ONNX,
    )  # fmt: skip
    (path,) = tmp_path.glob("*.onnx")
    types = [tensor.data_type for tensor in onnx.load(path).graph.initializer]
    assert types.count(onnx.TensorProto.FLOAT16) > len(types) / 2
    assert load_model(path, device="cpu").probabilities(images).shape == (3, 10)


@pytest.fixture(scope="session", params=[1, 10], ids=["one view", "ten views"])
def exported_int8(request, learnt, tmp_path_factory):
    """An int8 file, and the unseen images as it takes them."""
    (written,) = export_model(
        learnt.network, learnt.manifest, tmp_path_factory.mktemp("int8"),
        ExportSettings(precision=ExportPrecision.INT8, num_views=request.param),
        Compared(learnt.unseen_NIIC[:50], learnt.labels_N[:50]),
        calibration_NIIC=learnt.trained_NIIC[:50],
    )  # fmt: skip
    return written.path, crop_centre(learnt.unseen_NIIC, written.manifest.input_side_px)


def test_the_logits_are_near_those_of_float32(exported_int8, learnt):
    path, images = exported_int8
    model = load_model(path, device="cpu")
    network = with_views(PixelNetwork(learnt.network, learnt.manifest.input).eval(), model.manifest)
    with torch.inference_mode():
        expected = network(torch.from_numpy(images)).numpy()
    found = model.logits(images)
    error = np.abs(found - expected) / expected.std()
    assert error.mean() < 0.02
    assert error.max() < 0.2
    before, after = ((logits.argmax(1) == learnt.labels_N).mean() for logits in (expected, found))
    assert before > 0.9  # it has learned
    assert after > before - 0.01


def test_an_answer_is_the_same_alone_and_in_a_batch(exported_int8):
    path, images = exported_int8
    many = load_model(path, device="cpu")
    alone = load_model(path, device="cpu", for_many=False)
    together = many.logits(images[:40])
    each = np.concatenate([alone.logits(images[i : i + 1]) for i in range(40)])
    np.testing.assert_allclose(each, together, rtol=0, atol=1e-5 * together.std())


def test_two_products_fit_into_16_bits_so_that_every_processor_adds_alike(exported_int8):
    graph = onnx.load(exported_int8[0]).graph
    assert {node.domain for node in graph.node} == {""}
    weights = [
        numpy_helper.to_array(tensor).astype(int)
        for tensor in graph.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) > 1
    ]
    assert len(weights) == 10  # five convolutions, three matrix layers, two sums of the LRN
    largest = {np.abs(tensor).max() for tensor in weights}
    assert largest == {64}
    assert 255 * 64 * 2 < 2**15  # what AVX2's VPMADDUBSW adds without saturating


def test_the_manifest_and_the_card_name_the_processor(exported_int8):
    path = exported_int8[0]
    parity = load_model(path, device="cpu").manifest.deployment.parity
    assert parity.processor == processor_kind()
    assert f"; on {processor_kind()} |" in path.with_name("README.md").read_text()


@pytest.mark.slow
@pytest.mark.skipif(not avx2.is_possible(), reason="needs Linux on x86-64, cc, objdump, readelf")
def test_an_answer_is_the_same_on_a_processor_with_avx2_alone(exported_int8, tmp_path):
    path, images = exported_int8
    images = images[:60]
    np.save(tmp_path / "images.npy", images)
    code = f"""
import numpy as np
from pathlib import Path
from alexnet_cli.inference.session import load_model
model = load_model(Path({str(path)!r}), device="cpu")
np.save({str(tmp_path / "logits.npy")!r}, model.logits(np.load({str(tmp_path / "images.npy")!r})))
"""
    command = [sys.executable, "-m", "benchmarks.avx2", "-c", code]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[3])
    here = load_model(path, device="cpu").logits(images)
    there = np.load(tmp_path / "logits.npy")
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-5 * here.std())
