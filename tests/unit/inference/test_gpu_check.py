"""The GPU check on installations that are laid out in a folder."""

import contextlib
import ctypes
import importlib.metadata
import io
import sys
from dataclasses import replace
from pathlib import Path

import onnxruntime
import pytest
import torch

from alexnet_cli.inference import gpu_check
from alexnet_cli.inference.gpu_check import (
    CPU,
    CUDA,
    TENSORRT,
    Gpu,
    Probe,
    clash_problem,
    cuda_problems,
    has_gpu_wheel,
    installed_versions,
    onnxruntime_cuda_version,
    onnxruntime_wheels,
    read_driver,
    tensorrt_problems,
    torch_cuda_version,
)
from tests.planted import plant_driver, plant_onnxruntime, plant_wheel

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="libcuda.so.1 is Linux's name")
on_gpu_platform = pytest.mark.skipif(
    sys.platform != "linux" or not has_gpu_wheel(), reason="the GPU wheel's own platform"
)


@pytest.fixture
def missing():
    """Names of libraries that do not load."""
    return set()


@pytest.fixture
def probe(tmp_path, missing):
    """An installation without a problem: two GPUs, one wheel, every library."""
    site, driver = tmp_path / "site", plant_driver(tmp_path / "driver", num_gpus=2)
    plant_onnxruntime(site)
    plant_wheel(site, "onnxruntime-gpu")

    def load(name):
        if name == "libcuda.so.1":
            return ctypes.CDLL(str(driver / name))
        if Path(name).name in missing:
            raise OSError(f"{name}: cannot open shared object file")
        return None

    def preload():
        lines = [f"Failed to load {name}: no such file" for name in sorted(missing) if "cu" in name]
        return "\n".join(line for line in lines if "cudnn" not in line)

    return Probe([TENSORRT, CUDA, CPU], [str(site)], load, preload)


def site_of(probe):
    return Path(probe.path[0])


@on_gpu_platform
def test_an_installation_without_a_problem(probe):
    assert list(cuda_problems(probe, index=1)) == list(tensorrt_problems(probe)) == []
    assert clash_problem(probe.path) is None


@on_gpu_platform
def test_no_driver(probe, tmp_path):
    for library in (tmp_path / "driver").iterdir():
        library.unlink()
    (problem,) = cuda_problems(probe)
    assert problem.cause == "no NVIDIA driver: libcuda.so.1 was not found"


@on_gpu_platform
def test_a_number_beyond_the_gpus_names_how_many_there_are(probe, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (problem,) = cuda_problems(probe, index=2)
    assert problem.cause == "there is no cuda:2: 2 GPUs are visible"
    assert problem.fix == "use --device cuda:0 to cuda:1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    (problem,) = cuda_problems(probe, index=2)
    assert problem.cause.endswith("2 GPUs are visible (CUDA_VISIBLE_DEVICES=4,6)")


@on_gpu_platform
def test_a_driver_with_no_gpu(probe, tmp_path):
    plant_driver(tmp_path / "driver", num_gpus=0)
    (problem,) = cuda_problems(probe)
    assert problem.cause.startswith("no NVIDIA GPU: 0 GPUs are visible")


@on_gpu_platform
def test_a_driver_older_than_the_cuda_of_onnx_runtime(probe, tmp_path, monkeypatch):
    module = tmp_path / "version"
    module.write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22\nGCC version: 9\n"
    )
    monkeypatch.setattr(gpu_check, "_DRIVER_VERSION", module)
    plant_driver(tmp_path / "driver", cuda_version=12_040)
    (problem,) = cuda_problems(probe)
    assert (
        "built with CUDA 13, and the NVIDIA driver 550.54.14 runs CUDA up to 12.4" in problem.cause
    )
    assert "580 or later" in problem.fix


@on_gpu_platform
def test_the_cpu_wheel_that_hides_the_gpu_wheel(probe):
    plant_wheel(site_of(probe), "onnxruntime", "1.30.0")
    (problem,) = cuda_problems(replace(probe, providers=[CPU]))
    assert problem.cause.startswith("onnxruntime 1.30.0 hides onnxruntime-gpu 1.31.1")
    assert problem.fix == (
        "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'onnxruntime-gpu[cuda,cudnn]'"
    )
    found = clash_problem(probe.path)
    assert found is not None  # also while the GPU wheel happens to be on top
    assert found.fix == problem.fix


@on_gpu_platform
def test_a_cpu_build(probe):
    (site_of(probe) / "onnxruntime_gpu-1.31.1.dist-info").rename(site_of(probe) / "gone")
    plant_wheel(site_of(probe), "onnxruntime", "1.30.0")
    (problem,) = cuda_problems(replace(probe, providers=[CPU]))
    assert problem.cause == "this ONNX Runtime (onnxruntime 1.30.0) is a CPU build"
    assert problem.fix.startswith("pip uninstall -y onnxruntime && pip install 'onnx")


@on_gpu_platform
def test_missing_libraries_are_named_together(probe, missing):
    missing |= {"libcurand.so.10", "libcudnn.so.9"}
    (problem,) = cuda_problems(probe)
    assert "libcurand.so.10, libcudnn.so.9" in problem.cause
    assert problem.fix == "pip install --force-reinstall 'onnxruntime-gpu[cuda,cudnn]'"


@on_gpu_platform
def test_a_damaged_copy_does_not_matter_where_another_one_loads(probe):
    printed = "Failed to load /site/nvidia/cu13/lib/libcurand.so.10: invalid ELF header"
    assert list(cuda_problems(replace(probe, preload=lambda: printed))) == []


@on_gpu_platform
@pytest.mark.skipif(not onnxruntime.cuda_version, reason="this ONNX Runtime is a CPU build")
def test_onnx_runtimes_own_messages_are_understood(probe, tmp_path, capfd):
    (tmp_path / "libcurand.so.10").write_bytes(b"no library")

    def preload():
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            onnxruntime.preload_dlls(directory=str(tmp_path))
        return printed.getvalue()

    def load(name):
        if name == "libcurand.so.10":
            raise OSError(f"{name}: cannot open shared object file")
        return probe.load(name)

    (problem,) = cuda_problems(replace(probe, preload=preload, load=load))
    assert "libcurand.so.10" in problem.cause
    gpu_check.preload_libraries()
    assert capfd.readouterr().out == ""


@on_gpu_platform
def test_tensorrt_that_is_missing(probe, missing):
    missing |= {"libnvinfer.so.10"}
    assert list(cuda_problems(probe)) == []
    (problem,) = tensorrt_problems(probe)
    assert "libnvinfer.so.10" in problem.cause
    assert problem.fix == "pip install 'tensorrt-cu13==10.*'"


@on_gpu_platform
def test_an_onnx_runtime_without_tensorrt(probe):
    (problem,) = tensorrt_problems(replace(probe, providers=[CUDA, CPU]))
    assert "built without TensorRT" in problem.cause


@on_gpu_platform
def test_several_problems_come_in_the_order_of_their_fix(probe, tmp_path, missing):
    plant_driver(tmp_path / "driver", cuda_version=12_040, num_gpus=1)
    missing |= {"libnvinfer.so.10"}
    causes = [problem.cause for problem in cuda_problems(probe, index=3)]
    assert [cause[:14] for cause in causes] == ["there is no cu", "ONNX Runtime i"]
    assert len(list(tensorrt_problems(probe))) == 2


def loader(folder):
    return lambda name: ctypes.CDLL(str(folder / name))


@on_linux
def test_the_driver_tells_its_gpus(tmp_path):
    driver = read_driver(loader(plant_driver(tmp_path, num_gpus=2, cuda_version=12_040)))
    assert driver.is_installed
    assert driver.problem is None
    assert driver.cuda_version == (12, 4)
    assert driver.gpus[1] == Gpu(1, "Planted GPU", 80_000_000_000, (9, 0))
    assert len(driver.gpus) == 2


@on_linux
def test_no_driver_is_no_problem_of_the_driver(tmp_path):
    driver = read_driver(loader(tmp_path))
    assert not driver.is_installed
    assert (driver.problem, driver.gpus) == (None, ())


@on_linux
def test_a_driver_that_does_not_start_says_why(tmp_path):
    driver = read_driver(loader(plant_driver(tmp_path, status=803)))
    assert driver.problem == "the NVIDIA driver does not start: planted error (CUDA error 803)"
    assert driver.gpus == ()


@on_linux
def test_a_driver_without_a_gpu_has_no_problem(tmp_path):
    driver = read_driver(loader(plant_driver(tmp_path, status=100, num_gpus=1)))
    assert (driver.problem, driver.gpus) == (None, ())


def test_the_wheels_that_hold_onnxruntime_are_found(tmp_path):
    for name in ("onnxruntime", "onnxruntime-gpu", "onnxruntime_extensions", "onnx", "ort-nightly"):
        plant_wheel(tmp_path, name, "1.2")
    (tmp_path / "~nnx-1.0.dist-info").mkdir()  # what an interrupted pip leaves
    found = onnxruntime_wheels([str(tmp_path)])
    assert found == {"onnxruntime": "1.2", "onnxruntime-gpu": "1.2", "ort-nightly": "1.2"}


def test_versions_are_those_of_the_installation():
    found = installed_versions()
    assert found["torch"] == importlib.metadata.version("torch")
    assert found["typing-extensions"]  # hyphens, whatever the wheel calls itself


def test_cuda_versions_are_read_without_importing():
    assert torch_cuda_version() == torch.version.cuda
    assert (onnxruntime_cuda_version() or "") == (onnxruntime.cuda_version or "")


def test_a_cpu_build_has_no_cuda_version(tmp_path):
    path = [str(tmp_path)]
    assert torch_cuda_version(path) is onnxruntime_cuda_version(path) is None
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "version.py").write_text("cuda: Optional[str] = None\nhip = '6.0'\n")
    plant_onnxruntime(tmp_path, cuda_version="")
    assert torch_cuda_version(path) is onnxruntime_cuda_version(path) is None


@pytest.mark.parametrize(
    ("system", "machine", "expected"),
    [("linux", "x86_64", True), ("win32", "AMD64", True), ("linux", "aarch64", False),
     ("darwin", "arm64", False), ("darwin", "x86_64", False)],
)  # fmt: skip
def test_where_the_gpu_wheel_is_published(system, machine, expected):
    assert has_gpu_wheel(system, machine) is expected
