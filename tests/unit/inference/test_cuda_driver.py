import ctypes
import sys

import pytest

from alexnet_cli.inference.gpu_check import Gpu, read_driver
from tests.planted import plant_driver

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="libcuda.so.1 is Linux's name")


def loader(folder):
    return lambda name: ctypes.CDLL(str(folder / name))


def test_the_driver_tells_its_gpus(tmp_path):
    driver = read_driver(loader(plant_driver(tmp_path, num_gpus=2, cuda_version=12_040)))
    assert driver.is_installed
    assert driver.problem is None
    assert (driver.version, driver.cuda_version) == ("580.95.05", (12, 4))
    assert driver.gpus[1] == Gpu(1, "Planted GPU", 80_000_000_000, (9, 0))
    assert len(driver.gpus) == 2


def test_no_driver_is_no_problem_of_the_driver(tmp_path):
    driver = read_driver(loader(tmp_path))
    assert not driver.is_installed
    assert (driver.problem, driver.gpus) == (None, ())


def test_a_driver_that_does_not_start_says_why(tmp_path):
    driver = read_driver(loader(plant_driver(tmp_path, status=803)))
    assert driver.problem == "the NVIDIA driver does not start: planted error (CUDA error 803)"
    assert driver.gpus == ()


def test_a_driver_without_a_gpu_has_no_problem(tmp_path):
    driver = read_driver(loader(plant_driver(tmp_path, status=100, num_gpus=1)))
    assert (driver.problem, driver.gpus) == (None, ())


def test_a_driver_without_its_management_library_has_no_version(tmp_path):
    folder = plant_driver(tmp_path)
    (folder / "libnvidia-ml.so.1").unlink()
    driver = read_driver(loader(folder))
    assert (driver.version, len(driver.gpus)) == (None, 1)
