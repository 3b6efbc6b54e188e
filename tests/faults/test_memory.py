"""Memory that runs out: following the hint of each error leads to a run that fits."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

_SCRIPT = Path(__file__).with_name("train_in_little_memory.py")


def test_the_hints_lead_to_micro_batches_that_fit(tmp_path):
    size, sizes = 0, []
    while True:
        command = [sys.executable, str(_SCRIPT), str(tmp_path / str(size)), "250", str(size)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode == 0:
            break
        found = re.search(r"out_of_memory.* --micro-batch-size (\d+)", result.stderr)
        assert found, result.stderr
        size = int(found[1])
        sizes.append(size)
    assert sizes == [128 >> number for number in range(len(sizes))]
    assert sizes
