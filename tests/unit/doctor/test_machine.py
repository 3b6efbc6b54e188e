import shutil

import pytest

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
from alexnet_cli.inference.gpu_check import Gpu


def test_the_precision_told_is_the_one_training_takes():
    import torch

    from alexnet_cli.training.device import resolve_precision

    taken = resolve_precision(Precision.AUTO, torch.device("cpu"))
    told = choose_precision(read_cpu({}), None).name
    assert told == {torch.bfloat16: "bf16", torch.float32: "fp32"}[taken]


@pytest.mark.parametrize(
    ("instructions", "capability", "expected"),
    [
        (("avx2", "amx_bf16"), None, ("bf16", "amx_bf16 multiplies")),
        (("avx2", "avx512f"), None, ("fp32", "neither avx512_bf16 nor amx_bf16")),
        ((), (8, 0), ("bf16", "compute capability 8.0")),
        (("avx512_bf16",), (7, 5), ("fp32", "below 8.0")),
    ],
)
def test_precision_and_why(instructions, capability, expected):
    gpu = None if capability is None else Gpu(0, "Planted GPU", 1, capability)
    choice = choose_precision(Cpu("a CPU", 2, None, instructions), gpu)
    assert choice.name == expected[0]
    assert expected[1] in choice.reason


def test_threads_that_are_kept_from_working_are_told():
    assert (
        thread_findings(Cpu("a CPU", 8, 8, ())) == thread_findings(Cpu("a CPU", 8, None, ())) == []
    )
    (found,) = thread_findings(Cpu("a CPU", 8, 3, ()))
    assert (found.level, found.fix) == (Level.NOTE, "unset OMP_NUM_THREADS")
    assert read_cpu({"OMP_NUM_THREADS": "3,2"}).num_threads == 3
    assert read_cpu({"OMP_NUM_THREADS": "x"}).num_threads is None


def test_the_compiler(tmp_path, monkeypatch):
    assert (find_compiler() is None) == (shutil.which("cc") is None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_compiler() is None
    (on_cpu,) = compiler_findings(None, {}, trains_on_gpu=False)
    (on_gpu,) = compiler_findings(None, {}, trains_on_gpu=True)
    assert (on_cpu.level, on_gpu.level) == (Level.NOTE, Level.BROKEN)
    assert "times as long" in on_cpu.cause
    assert compiler_findings(None, {"CC": "icx"}, trains_on_gpu=True) == []
    assert compiler_findings("cc 12", {}, trains_on_gpu=False) == []
    broken = tmp_path / "cc"
    broken.write_text("#!/nowhere\n")
    broken.chmod(0o755)
    assert find_compiler() is None


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
    (tmp_path / "a" / "kernels").mkdir(parents=True)
    (tmp_path / "a" / "kernels" / "lrn-0123.so").touch()
    assert read_cache(tmp_path / "a").num_kernels == 1
    assert not (tmp_path / "a" / "b").exists()


def test_a_cache_folder_that_is_of_no_use(tmp_path):
    (tmp_path / "file").touch()
    (found,) = cache_findings(read_cache(tmp_path / "file" / "cache"))
    assert (found.level, "cannot be written to" in found.cause) == (Level.BROKEN, True)
    (found,) = cache_findings(Cache(tmp_path, True, 5_000_000, 0))
    assert found.cause == f"only 5 MB are free at {tmp_path}"
    assert cache_findings(Cache(tmp_path, True, 1 << 40, 0)) == []
