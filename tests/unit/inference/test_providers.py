import os
import sys
import types

import onnxruntime as ort
import pytest

from alexnet_cli.errors import DeviceError
from alexnet_cli.inference import providers
from alexnet_cli.inference.gpu_check import CPU, CUDA, TENSORRT, Problem
from alexnet_cli.inference.providers import Providers, check_provider, open_session, runtime_message
from tests.planted import plant_driver

needs_cuda_build = pytest.mark.skipif(
    sys.platform != "linux" or CUDA not in ort.get_available_providers(),
    reason="this ONNX Runtime has no CUDA provider to fail",
)
needs_no_driver = pytest.mark.skipif(
    os.path.exists("/dev/nvidiactl"),  # noqa: PTH110
    reason="there is a driver",
)
ON_CUDA = {CUDA: {"device_id": "0"}, CPU: {}}
ON_TENSORRT = {TENSORRT: {"device_id": "0"}, CPU: {}}
CODE = "[ONNXRuntimeError] : 1 : FAIL : "


def test_all_problems_are_named_at_once():
    problems = [Problem("no A", "pip install a"), Problem("no B", "pip install b")]
    with pytest.raises(DeviceError, match="--device cuda:1 is not usable: no A; no B") as caught:
        providers.refuse("cuda:1", problems)
    assert caught.value.hint == "pip install a; then: pip install b; or use --device cpu"
    providers.refuse("cuda", [])


@needs_no_driver
def test_auto_takes_the_cpu_of_a_machine_without_a_gpu_in_silence():
    chosen = providers.choose_providers("auto")
    assert (chosen.options, chosen.note) == ({CPU: {}}, None)


@needs_cuda_build
@needs_no_driver
def test_a_session_that_onnx_runtime_silently_moved_to_the_cpu_is_refused(exported, capfd):
    path = str(exported.whole / "model.onnx")
    session, failure = open_session(path, ort.SessionOptions(), Providers("cuda", ON_CUDA))
    assert (session.get_providers(), failure) == ([CPU], None)  # ONNX Runtime itself is silent
    with pytest.raises(DeviceError, match="--device cuda is not usable: ONNX Runtime could not"):
        check_provider(session, Providers("cuda", ON_CUDA))
    assert "running on the CPU" in check_provider(session, Providers("auto", ON_CUDA))
    assert capfd.readouterr().out == ""


@needs_cuda_build
@needs_no_driver
def test_a_provider_that_raises_is_reported_with_its_reason(exported):
    path = str(exported.whole / "model.onnx")
    chosen = Providers("tensorrt", ON_TENSORRT)
    session, failure = open_session(path, ort.SessionOptions(), chosen)
    with pytest.raises(DeviceError, match="could not start TensorRT: Please install TensorRT"):
        check_provider(session, chosen, failure)
    note = check_provider(session, Providers("auto", ON_TENSORRT), failure)
    assert "Please install TensorRT" in note


def test_a_broken_model_is_not_blamed_on_the_device(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no protobuf")
    with pytest.raises(ort.capi.onnxruntime_pybind11_state.InvalidProtobuf):
        open_session(str(path), ort.SessionOptions(), Providers("tensorrt", ON_TENSORRT))


def test_the_operators_that_the_cpu_runs_are_recorded(exported):
    options = ort.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = ort.InferenceSession(exported.whole / "model.onnx", options, providers=[CPU])
    assert {"Conv", "Gemm", "MaxPool", "Softmax"} <= providers.placed_operators(session)[CPU]


@pytest.mark.parametrize(
    ("placed", "refusal"),
    [
        ({CUDA: ["Conv"]}, None),
        ({CUDA: ["Conv"], CPU: ["Shape", "Squeeze", "Concat", "Reshape"]}, None),
        ({CUDA: ["Conv"], CPU: ["Shape", "LRN"]}, "CUDA cannot run LRN of this network"),
        ({CPU: ["Conv"]}, "CUDA took none of the network's operators"),
    ],
)
def test_only_the_arithmetic_of_shapes_may_stay_on_the_cpu(placed, refusal):
    def part(name):
        nodes = [types.SimpleNamespace(op_type=operator) for operator in placed[name]]
        return types.SimpleNamespace(ep_name=name, get_nodes=lambda: nodes)

    stand_in = types.SimpleNamespace(  # a session of a machine with a GPU
        get_providers=lambda: [CUDA, CPU],
        get_provider_graph_assignment_info=lambda: [part(name) for name in placed],
    )
    assert check_provider(stand_in, Providers("auto", ON_CUDA)) is None
    if refusal is None:
        assert check_provider(stand_in, Providers("cuda", ON_CUDA)) is None
        return
    with pytest.raises(DeviceError, match=refusal) as caught:
        check_provider(stand_in, Providers("cuda", ON_CUDA))
    assert "--device auto" in caught.value.hint


@needs_cuda_build
@needs_no_driver
def test_a_driver_that_cuda_cannot_use_is_found_out_by_the_session(
    exported, alexnet_process, tmp_path
):
    """The whole path: a driver with two GPUs that lacks most of what CUDA calls."""
    from PIL import Image

    Image.new("RGB", (20, 20), "red").save(tmp_path / "red.png")
    arguments = ("predict", tmp_path / "red.png", "--model", exported.whole / "model.onnx")
    env = {"LD_LIBRARY_PATH": str(plant_driver(tmp_path / "driver", num_gpus=2))}
    on_auto = alexnet_process(*arguments, "--json", env=env)
    assert on_auto.returncode == 0
    assert "running on the CPU (ONNX Runtime could not start CUDA" in on_auto.stderr
    assert on_auto.stdout == alexnet_process(*arguments, "--json", "--device", "cpu").stdout
    broken = {"LD_LIBRARY_PATH": str(plant_driver(tmp_path / "broken", status=999))}
    assert "running on the CPU (" in alexnet_process(*arguments, "-q", env=broken).stderr
    for device, message in (
        ("cuda", "could not start CUDA: libonnxruntime_providers_cuda.so: undefined symbol: cu"),
        ("cuda:2", "there is no cuda:2: 2 GPUs are visible"),
        ("tensorrt", "TensorRT's libraries do not load: libnvinfer.so"),
    ):
        result = alexnet_process(*arguments, "--device", device, env=env)
        assert (result.returncode, result.stdout) == (1, "")
        assert message in result.stderr
        assert "hint: " in result.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            f"{CODE}Load model from x.onnx failed:/onnxruntime_src/core/a-b/model.cc:149 "
            "onnxruntime::Model::Model(onnx::ModelProto&&, const P&) Unknown format (9).\nmore",
            "Load model from x.onnx failed: Unknown format (9)",
        ),
        (
            "/onnxruntime_src/core/session/provider_bridge.cc:2195 onnxruntime::Provider& "
            f"onnxruntime::ProviderLibrary::Get() {CODE}Failed to load library x.so",
            "Failed to load library x.so",
        ),
        ("", "RuntimeError"),
    ],
    ids=["model", "provider", "no text"],
)
def test_codes_and_places_in_the_source_are_left_out_of_a_message(text, expected):
    assert runtime_message(RuntimeError(text)) == expected
    assert len(runtime_message(RuntimeError(text + " word" * 100))) <= 200
