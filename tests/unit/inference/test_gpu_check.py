"""The GPU check on installations that are laid out in a folder."""

import ctypes
import importlib.metadata
import sys
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
with_gpu_wheel = pytest.mark.skipif(
    sys.platform != "linux" or not onnxruntime.cuda_version, reason="no GPU wheel for Linux"
)
PROVIDERS = [TENSORRT, CUDA, CPU]
load_library, preload_libraries = ctypes.CDLL, onnxruntime.preload_dlls


@pytest.fixture
def missing():
    """Patterns of libraries that do not load."""
    return set()


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder that holds all packages."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setattr(sys, "path", [str(folder)])
    return folder


@pytest.fixture
def plant(tmp_path, monkeypatch, missing):
    """Plant a driver, of two GPUs by default; every other library loads if it is not missing."""

    def load(name, *mode):
        if name == "libcuda.so.1":
            return load_library(str(tmp_path / "driver" / name))
        if name is None:
            return load_library(name, *mode)
        if any(Path(name).match(pattern) for pattern in missing):
            raise OSError(f"{name}: cannot open shared object file")
        return None

    monkeypatch.setattr(ctypes, "CDLL", load)
    return lambda **driver: plant_driver(tmp_path / "driver", **{"num_gpus": 2, **driver})


@pytest.fixture
def sound(site, plant):
    """An installation without a problem."""
    plant_onnxruntime(site)
    plant_wheel(site, "onnxruntime-gpu")
    plant()


@with_gpu_wheel
@pytest.mark.parametrize(
    ("driver", "index", "causes", "fix"),
    [
        ({}, 1, [], ""),
        (None, 2, ["no NVIDIA driver: libcuda.so.1 was not found"], "nvidia-smi"),
        ({"status": 803}, 2,
         ["the NVIDIA driver does not start: planted error (CUDA error 803)"], "reboot"),
        ({"num_gpus": 0}, 2,
         ["no NVIDIA GPU: 0 GPUs are visible (CUDA_VISIBLE_DEVICES=4,6)"], "unset"),
        ({}, 2, ["there is no cuda:2: 2 GPUs are visible (CUDA_VISIBLE_DEVICES=4,6)"], "to cuda:1"),
        ({"cuda_version": 12_040}, 2, ["there is no cuda:2: ", "ONNX Runtime i"], "to cuda:1"),
    ],
)  # fmt: skip
def test_problems_of_the_driver(sound, plant, tmp_path, monkeypatch, driver, index, causes, fix):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    if driver is None:
        (tmp_path / "driver" / "libcuda.so.1").unlink()
    else:
        plant(**driver)
    problems = list(cuda_problems(PROVIDERS, read_driver(), index=index))
    for problem, cause in zip(problems, causes, strict=True):
        assert problem.cause.startswith(cause)
    assert all(fix in problem.fix for problem in problems[:1])
    assert clash_problem() is None


@with_gpu_wheel
@pytest.mark.parametrize(
    ("libraries", "providers", "causes", "fix"),
    [
        ([], PROVIDERS, [], ""),
        (["libcurand.so.10", "libcudnn.so.9"], PROVIDERS, ["libcurand.so.10, libcudnn.so.9"],
         "pip install --force-reinstall 'onnxruntime-gpu[cuda,cudnn]'"),
        (["libnvinfer.so.10"], PROVIDERS, ["libnvinfer.so.10"],
         "pip install 'tensorrt-cu13==10.*'"),
        ([], [CUDA, CPU], ["built without TensorRT"], ""),
    ],
    ids=["none", "CUDA", "TensorRT", "build"],
)  # fmt: skip
def test_problems_of_libraries(sound, missing, libraries, providers, causes, fix):
    missing |= set(libraries)
    problems = list(tensorrt_problems(providers, read_driver()))
    for problem, cause in zip(problems, causes, strict=True):
        assert cause in problem.cause
        assert fix in (problem.fix, "")


@with_gpu_wheel
def test_a_driver_older_than_the_cuda_of_onnx_runtime(sound, plant, tmp_path, monkeypatch):
    module = tmp_path / "version"
    module.write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22\nGCC version: 9\n"
    )
    monkeypatch.setattr(gpu_check, "_DRIVER_VERSION", module)
    plant(cuda_version=12_040)
    (problem,) = cuda_problems(PROVIDERS, read_driver())
    assert (
        "built with CUDA 13, and the NVIDIA driver 550.54.14 runs CUDA up to 12.4" in problem.cause
    )
    assert "580 or later" in problem.fix


@with_gpu_wheel
def test_a_cpu_build_alone_or_above_the_gpu_wheel(site, plant):
    plant()
    plant_wheel(site, "onnxruntime", "1.30.0")
    (problem,) = cuda_problems([CPU], read_driver())
    assert problem.cause == "this ONNX Runtime (onnxruntime 1.30.0) is a CPU build"
    assert problem.fix.startswith("pip uninstall -y onnxruntime && pip install 'onnx")
    plant_wheel(site, "onnxruntime-gpu")
    (problem,) = cuda_problems([CPU], read_driver())
    assert "onnxruntime 1.30.0" in problem.cause
    assert "onnxruntime-gpu 1.31.1" in problem.cause
    assert problem.fix == (
        "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'onnxruntime-gpu[cuda,cudnn]'"
    )
    assert clash_problem() == problem  # also while the GPU wheel happens to be on top


@with_gpu_wheel
@pytest.mark.parametrize(("pattern", "matters"), [("libcurand.so.*", True), ("*/libcu*", False)])
def test_a_damaged_library_matters_where_no_other_copy_loads(
    sound, missing, tmp_path, monkeypatch, capfd, pattern, matters
):
    missing.add(pattern)
    (tmp_path / "libcurand.so.10").touch()
    monkeypatch.setattr(
        onnxruntime, "preload_dlls", lambda: preload_libraries(directory=str(tmp_path))
    )
    causes = [problem.cause for problem in cuda_problems(PROVIDERS, read_driver())]
    assert len(causes) == matters
    assert all("libcurand.so.10" in cause for cause in causes)
    assert capfd.readouterr().out == ""


@on_linux
def test_the_driver_reports_its_gpus(plant):
    driver = read_driver()
    assert (driver.is_installed, driver.problem, driver.gpus) == (False, None, ())
    plant(num_gpus=2, cuda_version=12_040)
    driver = read_driver()
    assert (driver.is_installed, driver.problem, driver.cuda_version) == (True, None, (12, 4))
    capability = (9, 0)
    assert driver.gpus == tuple(Gpu(i, "Planted GPU", 80_000_000_000, capability) for i in (0, 1))


@on_linux
def test_no_gpu_is_no_problem_of_the_driver(plant):
    plant(status=100, num_gpus=1)
    driver = read_driver()
    assert (driver.is_installed, driver.problem, driver.gpus) == (True, None, ())


def test_the_wheels_that_hold_onnxruntime_are_found(site):
    for name in ("onnxruntime", "onnxruntime-gpu", "onnxruntime_extensions", "onnx", "ort-nightly"):
        plant_wheel(site, name, "1.2")
    (site / "~nnx-1.0.dist-info").mkdir()  # what an interrupted pip leaves
    found = onnxruntime_wheels()
    assert found == {"onnxruntime": "1.2", "onnxruntime-gpu": "1.2", "ort-nightly": "1.2"}


def test_versions_are_those_of_the_installation():
    found = installed_versions()
    assert found["torch"] == importlib.metadata.version("torch")
    assert found["typing-extensions"]  # hyphens, whatever the wheel calls itself
    assert torch_cuda_version() == torch.version.cuda
    assert (onnxruntime_cuda_version() or "") == (onnxruntime.cuda_version or "")


def test_a_cpu_build_has_no_cuda_version(site):
    assert torch_cuda_version() is onnxruntime_cuda_version() is None
    (site / "torch").mkdir()
    (site / "torch" / "version.py").write_text("cuda: Optional[str] = None\nhip = '6.0'\n")
    plant_onnxruntime(site, cuda_version="")
    assert torch_cuda_version() is onnxruntime_cuda_version() is None


@pytest.mark.parametrize(
    ("system", "machine", "expected"),
    [("linux", "x86_64", True), ("win32", "AMD64", True), ("linux", "aarch64", False),
     ("darwin", "arm64", False), ("darwin", "x86_64", False)],
)  # fmt: skip
def test_where_the_gpu_wheel_is_published(monkeypatch, system, machine, expected):
    monkeypatch.setattr("sys.platform", system)
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert has_gpu_wheel() is expected
