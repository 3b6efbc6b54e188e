import os
import sys
import types

import onnx
import onnxruntime as ort
import pytest

from alexnet_cli.errors import DeviceError
from alexnet_cli.inference import providers
from alexnet_cli.inference.gpu_check import CPU, CUDA, TENSORRT, Problem
from alexnet_cli.inference.providers import Providers, check_provider, open_session, runtime_message
from alexnet_cli.inference.session import _read_graph
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
        check_provider(session, Providers("cuda", ON_CUDA), read_graph=pytest.fail)
    assert "running on the CPU" in check_provider(
        session, Providers("auto", ON_CUDA), read_graph=pytest.fail
    )
    assert capfd.readouterr().out == ""


@needs_cuda_build
@needs_no_driver
def test_a_provider_that_raises_is_reported_with_its_reason(exported):
    path = str(exported.whole / "model.onnx")
    chosen = Providers("tensorrt", ON_TENSORRT)
    session, failure = open_session(path, ort.SessionOptions(), chosen)
    with pytest.raises(DeviceError, match="could not start TensorRT: Please install TensorRT"):
        check_provider(session, chosen, failure, read_graph=pytest.fail)
    on_auto = Providers("auto", ON_TENSORRT)
    note = check_provider(session, on_auto, failure, read_graph=pytest.fail)
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
    found = set(providers.placed_nodes(session)[CPU].values())
    assert {"Conv", "Gemm", "MaxPool", "Softmax"} <= found


def _graph():
    """A flattening that asks for the batch size, one of a constant, and an addition of the two."""
    nodes = [
        ("Shape", ["images"], ["shape"]),
        ("Mul", ["shape", "tens"], ["more"]),
        ("Reshape", ["images", "more"], ["flat"]),
        ("Range", ["tens", "tens", "tens"], ["band"]),
        ("Add", ["flat", "band"], ["logits"]),
    ]
    images = onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, ["batch"])
    return onnx.helper.make_graph(
        [onnx.helper.make_node(kind, *ends, name=f"node_{kind}") for kind, *ends in nodes],
        "graph", [images], [],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("on_cuda", "on_cpu", "refusal"),
    [
        (["Reshape", "Add"], [], None),
        (["Reshape", "Add"], ["Shape", "Mul", "Range"], None),
        (["Add"], ["Shape", "Mul", "Reshape"], "CUDA cannot run Reshape of this network"),
        (["Reshape"], ["Shape", "Add"], "CUDA cannot run Add of this network"),
        (["Reshape"], ["FusedAdd"], "CUDA cannot run FusedAdd"),  # a name that the file lacks
        ([], ["Reshape", "Add"], "CUDA took none of the network's operators"),
    ],
)
def test_only_what_does_not_depend_on_pixels_may_stay_on_the_cpu(on_cuda, on_cpu, refusal):
    def part(name, kinds):
        nodes = [types.SimpleNamespace(name=f"node_{kind}", op_type=kind) for kind in kinds]
        return types.SimpleNamespace(ep_name=name, get_nodes=lambda: nodes)

    placed = [part(name, kinds) for name, kinds in ((CUDA, on_cuda), (CPU, on_cpu)) if kinds]
    stand_in = types.SimpleNamespace(  # a session of a machine with a GPU
        get_providers=lambda: [CUDA, CPU],
        get_provider_graph_assignment_info=lambda: placed,
    )
    on_auto = check_provider(stand_in, Providers("auto", ON_CUDA), read_graph=pytest.fail)
    assert on_auto is None
    if refusal is None:
        assert check_provider(stand_in, Providers("cuda", ON_CUDA), read_graph=_graph) is None
        return
    with pytest.raises(DeviceError, match=refusal) as caught:
        check_provider(stand_in, Providers("cuda", ON_CUDA), read_graph=_graph)
    assert "--device auto" in caught.value.hint


@pytest.mark.parametrize("name", ["model.onnx", "model.safetensors"])
def test_the_nodes_that_do_not_depend_on_pixels_are_found_in_a_file(exported, name):
    graph = _read_graph(exported.whole / name)
    apart = providers.nodes_without_pixels(graph)
    kinds = {node.name: node.op_type for node in graph.node}
    assert len(kinds) == len(graph.node)
    assert {"Conv", "Gemm", "Softmax"}.isdisjoint(kinds[each] for each in apart)


def test_an_int8_file_is_for_the_cpu():
    on_cpu = Providers("cpu")
    assert providers.providers_for_int8(on_cpu) is on_cpu
    chosen = providers.providers_for_int8(Providers("auto", ON_CUDA))
    assert chosen.wanted == CPU
    assert "--precision fp16" in chosen.note
    with pytest.raises(DeviceError, match="int8, which is for CPUs") as caught:
        providers.providers_for_int8(Providers("cuda", ON_CUDA))
    assert "--precision fp16" in caught.value.hint


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
