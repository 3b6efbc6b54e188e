import os
import sys
import types

import onnxruntime as ort
import pytest

from alexnet_cli.errors import DeviceError
from alexnet_cli.inference import providers
from alexnet_cli.inference.gpu_check import CPU, CUDA, TENSORRT, Probe, Problem
from tests.planted import plant_driver

needs_cuda_build = pytest.mark.skipif(
    sys.platform != "linux" or CUDA not in ort.get_available_providers(),
    reason="this ONNX Runtime has no CUDA provider to fail",
)
needs_no_driver = pytest.mark.skipif(
    os.path.exists("/dev/nvidiactl"),  # noqa: PTH110
    reason="there is a driver",
)


def test_all_problems_are_told_at_once():
    problems = [Problem("no A", "pip install a"), Problem("no B", "pip install b")]
    with pytest.raises(DeviceError, match="--device cuda:1 is not usable: no A; no B") as caught:
        providers.refuse("cuda:1", problems)
    assert caught.value.hint == "pip install a; then: pip install b; or use --device cpu"
    providers.refuse("cuda", [])


@needs_no_driver
def test_auto_takes_the_cpu_and_says_the_first_reason():
    chosen = providers.choose_providers("auto", Probe([CPU]))
    assert (chosen.names, chosen.required) == ([CPU], False)
    assert chosen.note == "running on the CPU (no NVIDIA driver: libcuda.so.1 was not found)"
    assert providers.choose_providers("cpu").note is None


@needs_no_driver
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "tensorrt"])
def test_what_was_asked_for_is_an_error_where_it_cannot_run(device):
    with pytest.raises(DeviceError, match=f"--device {device} is not usable: no NVIDIA driver"):
        providers.choose_providers(device)


@needs_cuda_build
@needs_no_driver
def test_a_session_that_onnx_runtime_silently_moved_to_the_cpu_is_refused(exported, capfd):
    path = str(exported.whole / "model.onnx")
    for required in (True, False):
        chosen = providers.Providers("cuda", [(CUDA, {"device_id": "0"}), CPU], required=required)
        session = providers.open_session(path, ort.SessionOptions(), chosen)
        assert session.get_providers() == [CPU]  # ONNX Runtime itself says nothing
        if required:
            with pytest.raises(DeviceError, match="--device cuda is not usable: ONNX Runtime"):
                providers.check_provider(session, chosen)
        else:
            assert "running on the CPU" in providers.check_provider(session, chosen)
    assert capfd.readouterr().out == ""


@needs_cuda_build
@needs_no_driver
def test_a_provider_that_raises_is_told_with_its_reason(exported):
    path = str(exported.whole / "model.onnx")
    chosen = providers.Providers("tensorrt", [(TENSORRT, {"device_id": "0"}), CPU], required=True)
    with pytest.raises(DeviceError, match="could not start TensorRT: Please install TensorRT"):
        providers.open_session(path, ort.SessionOptions(), chosen)
    chosen.required = False
    session = providers.open_session(path, ort.SessionOptions(), chosen)
    assert "Please install TensorRT" in providers.check_provider(session, chosen)


def test_a_broken_model_is_not_blamed_on_the_device(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no protobuf")
    chosen = providers.Providers("tensorrt", [(TENSORRT, {}), CPU], required=True)
    with pytest.raises(ort.capi.onnxruntime_pybind11_state.InvalidProtobuf):
        providers.open_session(str(path), ort.SessionOptions(), chosen)


def test_layers_that_were_placed_on_the_cpu_are_named(exported):
    options = ort.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = ort.InferenceSession(exported.whole / "model.onnx", options, providers=[CPU])
    assert {"Conv", "Gemm", "MaxPool", "Softmax"} <= set(providers.places(session)[CPU])
    chosen = providers.Providers("cuda", [CPU], required=True)
    chosen.names = [(CUDA, {}), CPU]
    stand_in = types.SimpleNamespace(  # a session that registered CUDA and gave it nothing
        get_providers=lambda: [CUDA, CPU],
        get_provider_graph_assignment_info=session.get_provider_graph_assignment_info,
    )
    with pytest.raises(DeviceError, match="CUDA took none of the network's operators") as caught:
        providers.check_provider(stand_in, chosen)
    assert "--device auto" in caught.value.hint


@pytest.mark.parametrize(
    ("on_cpu", "is_refused"),
    [((), False), (("Shape", "Squeeze", "Concat", "Reshape"), False), (("Shape", "LRN"), True)],
)
def test_only_the_arithmetic_of_shapes_may_stay_on_the_cpu(on_cpu, is_refused):
    def part(name, operators):
        nodes = [types.SimpleNamespace(op_type=operator) for operator in operators]
        return types.SimpleNamespace(ep_name=name, get_nodes=lambda: nodes)

    stand_in = types.SimpleNamespace(
        get_providers=lambda: [CUDA, CPU],
        get_provider_graph_assignment_info=lambda: [part(CUDA, ["Conv"]), part(CPU, on_cpu)],
    )
    chosen = providers.Providers("cuda", [(CUDA, {}), CPU], required=True)
    if is_refused:
        with pytest.raises(DeviceError, match="CUDA cannot run LRN of this network"):
            providers.check_provider(stand_in, chosen)
    else:
        assert providers.check_provider(stand_in, chosen) is None


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
    for device, words in (
        ("cuda", "could not start CUDA: libonnxruntime_providers_cuda.so: undefined symbol: cu"),
        ("cuda:2", "there is no cuda:2: 2 GPUs are visible"),
        ("tensorrt", "TensorRT's libraries do not load: libnvinfer.so"),
    ):
        result = alexnet_process(*arguments, "--device", device, env=env)
        assert (result.returncode, result.stdout) == (1, "")
        assert words in result.stderr
        assert "hint: " in result.stderr
