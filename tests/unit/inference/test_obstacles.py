import ctypes
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from alexnet_cli.inference.gpu_check import (
    CPU,
    CUDA,
    TENSORRT,
    Surroundings,
    clash,
    cuda_obstacles,
    has_gpu_wheel,
    tensorrt_obstacles,
)
from tests.planted import plant_driver, plant_library, plant_onnxruntime, plant_wheel

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or not has_gpu_wheel(), reason="the GPU wheel's own platform"
)
_NEEDED = ("libcublasLt.so.13", "libcurand.so.10")


@pytest.fixture
def around(tmp_path):
    """An installation in which nothing is wrong: two GPUs, one wheel, every library."""
    site, driver = tmp_path / "site", plant_driver(tmp_path / "driver", num_gpus=2)
    capi = plant_onnxruntime(site)
    libraries = [plant_library(site / "nvidia" / "cu13" / "lib" / name) for name in _NEEDED]
    libcuda = driver / "libcuda.so.1"
    plant_library(capi / "libonnxruntime_providers_cuda.so", needs=(*libraries, libcuda))
    tensorrt = plant_library(site / "tensorrt_libs" / "libnvinfer.so.10")
    plant_library(capi / "libonnxruntime_providers_tensorrt.so", needs=(tensorrt,))
    plant_library(site / "nvidia" / "cudnn" / "lib" / "libcudnn.so.9")
    plant_wheel(site, "onnxruntime-gpu")
    plant_wheel(site, "nvidia-curand", "10.4.0.35")

    def load(name):
        # By path alone: this process must not have NVIDIA's names for libraries that do nothing.
        path = driver / name
        if not path.is_file():
            raise OSError(f"{name}: cannot open shared object file")
        return ctypes.CDLL(str(path)) if path.parent == driver else None

    return Surroundings([TENSORRT, CUDA, CPU], [str(site)], load)


def site_of(around):
    return Path(around.path[0])


def test_a_sound_installation_has_no_obstacle(around):
    assert list(cuda_obstacles(around, index=1)) == list(tensorrt_obstacles(around)) == []
    assert clash(around.path) is None


def test_no_driver(around, tmp_path):
    for library in (tmp_path / "driver").iterdir():
        library.unlink()
    (obstacle,) = cuda_obstacles(around)
    assert obstacle.cause == "no NVIDIA driver: libcuda.so.1 was not found"


def test_a_number_beyond_the_gpus_names_how_many_there_are(around, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (obstacle,) = cuda_obstacles(around, index=2)
    assert obstacle.cause == "there is no cuda:2: 2 GPUs are visible"
    assert obstacle.repair == "use --device cuda:0 to cuda:1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    (obstacle,) = cuda_obstacles(around, index=2)
    assert obstacle.cause.endswith("2 GPUs are visible (CUDA_VISIBLE_DEVICES=4,6)")


def test_a_driver_with_no_gpu(around, tmp_path):
    plant_driver(tmp_path / "driver", num_gpus=0)
    (obstacle,) = cuda_obstacles(around)
    assert obstacle.cause.startswith("no NVIDIA GPU: 0 GPUs are visible")


def test_a_driver_older_than_the_cuda_of_onnx_runtime(around, tmp_path):
    plant_driver(tmp_path / "driver", cuda_version=12_040)
    (obstacle,) = cuda_obstacles(around)
    assert "built with CUDA 13, and the NVIDIA driver 580.95.05 runs CUDA up to 12.4" in (
        obstacle.cause
    )
    assert "580 or later" in obstacle.repair


def test_the_cpu_wheel_that_hides_the_gpu_wheel(around):
    plant_wheel(site_of(around), "onnxruntime", "1.30.0")
    (obstacle,) = cuda_obstacles(replace(around, providers=[CPU]))
    assert obstacle.cause == (
        "the wheel onnxruntime 1.30.0 hides onnxruntime-gpu 1.31.1: both hold a package onnxruntime"
    )
    assert obstacle.repair == (
        "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'onnxruntime-gpu[cuda,cudnn]'"
    )
    found = clash(around.path)
    assert found is not None  # also while the GPU wheel happens to lie on top
    assert found.repair == obstacle.repair


def test_a_cpu_build(around):
    (site_of(around) / "onnxruntime_gpu-1.31.1.dist-info").rename(site_of(around) / "gone")
    plant_wheel(site_of(around), "onnxruntime", "1.30.0")
    (obstacle,) = cuda_obstacles(replace(around, providers=[CPU]))
    assert obstacle.cause == "this ONNX Runtime (onnxruntime 1.30.0) is a CPU build"
    assert obstacle.repair.startswith("pip uninstall -y onnxruntime && pip install 'onnx")


def test_missing_libraries_are_named_all_at_once(around):
    (site_of(around) / "nvidia" / "cu13" / "lib" / "libcurand.so.10").unlink()
    (site_of(around) / "nvidia" / "cudnn" / "lib" / "libcudnn.so.9").unlink()
    (obstacle,) = cuda_obstacles(around)
    assert "CUDA provider lacks libcurand.so.10, libcudnn.so.9" in obstacle.cause
    # pip believes nvidia-curand to be there; cuDNN's wheel is not.
    assert obstacle.repair == (
        "pip install --force-reinstall --no-deps nvidia-curand==10.4.0.35"
        " && pip install 'onnxruntime-gpu[cuda,cudnn]'"
    )


def test_tensorrt_that_is_missing(around):
    (site_of(around) / "tensorrt_libs" / "libnvinfer.so.10").unlink()
    assert list(cuda_obstacles(around)) == []
    (obstacle,) = tensorrt_obstacles(around)
    assert "TensorRT provider lacks libnvinfer.so.10" in obstacle.cause
    assert obstacle.repair == "pip install 'tensorrt-cu13==10.*'"


def test_an_onnx_runtime_without_tensorrt(around):
    (obstacle,) = tensorrt_obstacles(replace(around, providers=[CUDA, CPU]))
    assert "built without TensorRT" in obstacle.cause


def test_several_obstacles_come_in_the_order_of_their_repair(around, tmp_path):
    plant_driver(tmp_path / "driver", cuda_version=12_040, num_gpus=1)
    (site_of(around) / "tensorrt_libs" / "libnvinfer.so.10").unlink()
    causes = [obstacle.cause for obstacle in cuda_obstacles(around, index=3)]
    assert [cause[:14] for cause in causes] == ["there is no cu", "ONNX Runtime i"]
    assert len(list(tensorrt_obstacles(around))) == 2
