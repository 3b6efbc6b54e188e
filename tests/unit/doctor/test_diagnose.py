import ctypes
import sys

import onnxruntime
import pytest

from alexnet_cli.config.sources import known_variables, list_variables
from alexnet_cli.doctor.diagnose import (
    gpu_findings,
    list_versions,
    requirement_findings,
    torch_findings,
    variable_findings,
)
from alexnet_cli.doctor.machine import Level
from alexnet_cli.inference.gpu_check import (
    CPU,
    CUDA,
    GPU_REQUIREMENT,
    TENSORRT,
    Driver,
    Gpu,
    has_gpu_wheel,
)
from tests.planted import plant_onnxruntime, plant_wheel

_NONE = Driver(is_installed=False)
_ONE = Driver(True, None, "580.95.05", (13, 0), (Gpu(0, "Planted GPU", 1 << 33, (9, 0)),))
_OLD = Driver(True, None, "550.1", (12, 4), _ONE.gpus)


load_library = ctypes.CDLL


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder that holds all packages, where every library but TensorRT's loads."""

    def load(name):
        if "nvinfer" in str(name):
            raise OSError(f"{name}: cannot open shared object file")
        return load_library(name) if name is None else None

    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    return tmp_path


def test_variables_that_nothing_reads_are_broken():
    environment = {"ALEXNET_HOME": "/a", "ALEXNET_EPOCH": "3", "ALEXNET_Q": "", "HOME": "/"}
    near, far = variable_findings(list_variables(environment, known_variables()))
    assert near.cause == "nothing reads ALEXNET_EPOCH; did you mean ALEXNET_EPOCHS?"
    assert (near.level, near.fix) == (Level.BROKEN, "unset ALEXNET_EPOCH")
    assert far.cause == "nothing reads ALEXNET_Q"


def test_versions_include_absent_packages(site):
    plant_wheel(site, "torch", "2.14.1")
    found = list_versions()
    assert (found["torch"], found["torchvision"], found["onnxruntime"]) == ("2.14.1", None, None)
    plant_wheel(site, "onnxruntime-gpu", "1.31.1")
    assert "onnxruntime" not in list_versions()


def test_missing_and_old_packages_are_broken():
    requirements = [
        "torch>=2.11", "onnx>=1.19", "Safe_Tensors>=0.6", "numpy>=2; sys_platform == 'nowhere'",
        "pytest>=8; extra == 'dev'", "not a requirement !", "pillow>=11",
    ]  # fmt: skip
    found = requirement_findings(requirements, {"torch": "2.5", "onnx": "1.23rc1", "pillow": "11"})
    assert [(f.level, f.cause, f.fix) for f in found] == [
        (Level.BROKEN, "torch 2.5 is not what is needed (>=2.11)", "pip install 'torch>=2.11'"),
        (Level.BROKEN, "Safe_Tensors is not installed (>=0.6)", "pip install 'Safe_Tensors>=0.6'"),
    ]


def test_a_machine_without_a_gpu_is_a_note(site):
    (found,) = gpu_findings([CUDA, CPU], _NONE, has_hardware=False)
    assert (found.level, found.fix) == (Level.NOTE, None)
    assert torch_findings("13.0", "13.0", _NONE) == torch_findings(None, None, _NONE) == []


def test_a_gpu_without_a_driver_is_broken(site):
    (found,) = gpu_findings([CUDA, CPU], _NONE, has_hardware=True)
    assert found.level is Level.BROKEN
    assert found.cause.startswith("no NVIDIA driver")


@pytest.mark.parametrize("driver", [_NONE, _ONE], ids=["no GPU", "GPU"])
def test_wheels_that_clash_are_one_finding(site, driver):
    plant_wheel(site, "onnxruntime")
    plant_wheel(site, "onnxruntime-gpu")
    found = gpu_findings([CPU], driver, has_hardware=False)
    (clash,) = [f for f in found if f.level is Level.BROKEN]
    assert clash.fix.startswith("pip uninstall -y onnxruntime onnxruntime-gpu && ")


@pytest.mark.skipif(not has_gpu_wheel(), reason="no GPU wheel for this machine")
def test_cpu_builds_are_broken_on_a_machine_with_a_gpu(site):
    (found,) = gpu_findings([CPU], _ONE, has_hardware=True)
    assert found.fix == f"pip install {GPU_REQUIREMENT}"
    (found,) = torch_findings(None, None, _ONE)
    assert (found.level, found.subject) == (Level.BROKEN, "PyTorch")
    assert found.fix == "pip install --force-reinstall torch torchvision"


def test_missing_tensorrt_is_a_note(site):
    (found,) = gpu_findings([CUDA, CPU], _ONE, has_hardware=True)
    assert (found.level, found.subject) == (Level.NOTE, "TensorRT")
    (found,) = gpu_findings([TENSORRT, CUDA, CPU], _ONE, has_hardware=True)
    assert (found.level, found.fix) == (Level.NOTE, "pip install 'tensorrt-cu13==10.*'")


def test_different_cuda_versions_are_broken_on_a_machine_with_a_gpu():
    for driver, level in ((_ONE, Level.BROKEN), (_NONE, Level.NOTE)):
        (found,) = torch_findings("12.8", "13.0", driver)
        assert found.level is level
        assert "PyTorch is built with CUDA 12.8, ONNX Runtime with 13.0" in found.cause
        assert found.fix.endswith(f"torch torchvision {GPU_REQUIREMENT}")
    assert torch_findings("13.1", "13.0", _ONE) == []


def test_an_old_driver_is_broken_for_each_library(site):
    plant_onnxruntime(site)
    (of_torch,) = torch_findings("13.0", "13.0", _OLD)
    (of_onnxruntime,) = gpu_findings([CUDA, CPU], _OLD, has_hardware=True)
    for name, found in (("PyTorch", of_torch), ("ONNX Runtime", of_onnxruntime)):
        assert found.level is Level.BROKEN
        assert found.cause == (
            f"{name} is built with CUDA 13, and the NVIDIA driver 550.1 runs CUDA up to 12.4"
        )
