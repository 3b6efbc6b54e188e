import shutil

import pytest
import torch

from alexnet_cli.config.schema import Precision
from alexnet_cli.doctor.machine import (
    Cache,
    Cpu,
    Level,
    cache_findings,
    choose_precision,
    compiler_findings,
    find_compiler,
    has_nvidia_hardware,
    read_cache,
    read_cpu,
    thread_findings,
)
from alexnet_cli.files import keep_library
from alexnet_cli.inference.gpu_check import Gpu
from alexnet_cli.training.device import resolve_precision


def test_the_precision_is_the_one_of_training():
    precision = resolve_precision(Precision.AUTO, torch.device("cpu"))
    assert choose_precision(read_cpu({}), None).name == (
        "bf16" if precision is torch.bfloat16 else "fp32"
    )


@pytest.mark.parametrize(
    ("instructions", "capability", "name", "reason"),
    [
        (("avx2", "amx_bf16"), None, "bf16", "amx_bf16 multiplies"),
        (("avx2", "avx512f"), None, "fp32", "neither avx512_bf16 nor amx_bf16"),
        ((), (8, 0), "bf16", "compute capability 8.0"),
        (("avx512_bf16",), (7, 5), "fp32", "below 8.0"),
    ],
)
def test_a_precision_has_a_reason(instructions, capability, name, reason):
    gpu = None if capability is None else Gpu(0, "Planted GPU", 1, capability)
    choice = choose_precision(Cpu("a CPU", 2, None, instructions), gpu)
    assert choice.name == name
    assert reason in choice.reason


@pytest.mark.parametrize(("variable", "number"), [("3,2", 3), ("x", None), ("", None)])
def test_the_number_of_threads_is_the_first_of_omp_num_threads(variable, number):
    assert read_cpu({"OMP_NUM_THREADS": variable}).num_threads == number


@pytest.mark.parametrize("num_threads", [None, 8])
def test_all_processors_in_use_is_no_finding(num_threads):
    assert thread_findings(Cpu("a CPU", 8, num_threads, ())) == []


def test_processors_that_stay_idle_are_a_note():
    (found,) = thread_findings(Cpu("a CPU", 8, 3, ()))
    assert (found.level, found.fix) == (Level.NOTE, "unset OMP_NUM_THREADS")


def test_a_compiler_that_does_not_run_does_not_count(tmp_path, monkeypatch):
    assert (find_compiler() is None) == (shutil.which("cc") is None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_compiler() is None
    (tmp_path / "cc").write_text("#!/nowhere\n")
    (tmp_path / "cc").chmod(0o755)
    assert find_compiler() is None


def test_a_missing_compiler_is_broken_only_for_training_on_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (on_cpu,) = compiler_findings(None, {}, trains_on_gpu=False)
    (on_gpu,) = compiler_findings(None, {}, trains_on_gpu=True)
    assert (on_cpu.level, on_gpu.level) == (Level.NOTE, Level.BROKEN)
    assert compiler_findings(None, {"CC": "icx"}, trains_on_gpu=True) == []
    assert compiler_findings("cc 12", {}, trains_on_gpu=False) == []


def test_an_nvidia_gpu_is_seen_without_its_driver(tmp_path):
    assert not has_nvidia_hardware(tmp_path)
    for name, vendor, kind in (("a", "0x10de", "0x040300"), ("b", "0x1002", "0x030000")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(vendor + "\n")
        (tmp_path / name / "class").write_text(kind + "\n")
    (tmp_path / "c").mkdir()  # one that cannot be read
    assert not has_nvidia_hardware(tmp_path)  # the GPU's sound output, and another maker's GPU
    (tmp_path / "a" / "class").write_text("0x030200\n")
    assert has_nvidia_hardware(tmp_path)


def test_the_cache_folder_need_not_exist_yet(tmp_path):
    cache = read_cache(tmp_path / "a" / "b")
    assert cache.is_writable
    assert cache.free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.1)
    assert not (tmp_path / "a").exists()


def test_compiled_kernels_are_counted(tmp_path):
    keep_library(b"a kernel", tmp_path / "kernels", "lrn-0123")
    assert read_cache(tmp_path).num_kernels == 1
    assert not cache_findings(read_cache(tmp_path))
    (tmp_path / "kernels" / "lrn-0123.so").touch()
    assert (read_cache(tmp_path).num_kernels, read_cache(tmp_path).num_unused_kernels) == (1, 1)
    assert "kernels" in cache_findings(read_cache(tmp_path))[0].cause


def test_a_cache_folder_without_rights_or_space(tmp_path):
    (tmp_path / "file").touch()
    (found,) = cache_findings(read_cache(tmp_path / "file" / "cache"))
    assert (found.level, "cannot be written to" in found.cause) == (Level.BROKEN, True)
    (found,) = cache_findings(Cache(tmp_path, True, 5_000_000, 0))
    assert found.cause == f"only 5 MB are free at {tmp_path}"
    assert cache_findings(Cache(tmp_path, True, 1 << 40, 0)) == []
