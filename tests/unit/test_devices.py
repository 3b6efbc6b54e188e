import pytest

from alexnet_cli.devices import cpu_flags, cpu_quota, parse_device, processor_kind, read_cpuinfo
from alexnet_cli.errors import UsageError


@pytest.mark.parametrize(
    ("name", "expected"),
    [("auto", ("auto", None)), ("cpu", ("cpu", None)), ("cuda:12", ("cuda", 12))],
)
def test_a_device_is_a_kind_and_a_number(name, expected):
    assert parse_device(name) == parse_device(name, has_tensorrt=True) == expected


def test_tensorrt_runs_exported_models_only():
    assert parse_device("tensorrt", has_tensorrt=True) == ("tensorrt", None)
    with pytest.raises(UsageError, match="tensorrt runs exported models") as caught:
        parse_device("tensorrt")
    assert "alexnet export" in caught.value.hint


@pytest.mark.parametrize("name", ["", "gpu", "CUDA", "mps", "cpu:0", "cuda:", "cuda:-1", "cuda:²"])
def test_other_names_are_refused(name):
    with pytest.raises(UsageError, match="unknown device") as caught:
        parse_device(name, has_tensorrt=True)
    assert "--device" in caught.value.hint


@pytest.mark.parametrize(
    ("files", "num_cores"),
    [
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "nonsense"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_the_cores_of_a_container_are_its_quota(tmp_path, files, num_cores):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpu_quota(tmp_path) == num_cores


def test_the_processor_is_read_as_linux_writes_it(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text("model name\t: A CPU\nflags\t\t: fpu avx2\n\nmodel name\t: Another\n")
    x86 = read_cpuinfo(path)
    assert x86["model name"] == "A CPU"
    assert cpu_flags(x86) == {"fpu", "avx2"}
    assert processor_kind(x86).endswith(" with AVX2")
    path.write_text("processor : 0\nFeatures : fp asimd bf16\n")
    assert "bf16" in cpu_flags(read_cpuinfo(path))
    assert cpu_flags(read_cpuinfo(tmp_path / "absent")) == frozenset()


@pytest.mark.parametrize(
    ("flags", "kind"),
    [
        ("fpu avx2 avx512bw avx512_vnni amx_int8", "AMX"),
        ("avx2 avx512bw avx512_vnni", "AVX512-VNNI"),
        ("avx2 avx_vnni", "AVX-VNNI"),
        ("avx2 avx512bw", "AVX-512"),
        ("fpu avx2 fma", "AVX2"),
    ],
)
def test_a_processor_is_named_by_its_fastest_int8_instructions(flags, kind):
    assert processor_kind({"flags": flags}).endswith(f" with {kind}")
    assert " with " not in processor_kind({"Features": "asimd"})
