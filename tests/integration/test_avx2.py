"""What depends on the processor, run as on one with AVX2 alone: int8, and fast bfloat16."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import avx2

_ROOT = Path(__file__).parents[2]
_TESTS = ("export/test_precision.py", "training/test_optimizer.py", "doctor/test_machine.py")


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.avx2", *arguments],
        capture_output=True, text=True, check=False, cwd=_ROOT,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not avx2.is_possible(), reason="needs Linux on x86-64, cc, objdump, readelf")
def test_the_same_tests_hold_on_a_processor_with_avx2_alone():
    named = run("-c", "import alexnet_cli.devices as d; print(d.processor_kind())")
    assert named.stdout == "x86_64 with AVX2\n", named.stderr
    paths = [str(_ROOT / "tests" / "unit" / name) for name in _TESTS]
    again = run("-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", *paths)
    assert again.returncode == 0, again.stdout
