"""Memory that runs out in an update."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

_SCRIPT = Path(__file__).with_name("train_in_little_memory.py")


def train(folder: Path, *, spare_mib: int, micro_batch_size: int) -> tuple[list[int], bytes]:
    """Return the sizes that batches were divided to, and the weights in the end."""
    command = [sys.executable, str(_SCRIPT), str(folder), str(spare_mib), str(micro_batch_size)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    weights = folder / "run" / "checkpoints" / "step-2" / "model.safetensors"
    return json.loads(result.stdout), weights.read_bytes()


def test_batches_are_halved_until_they_fit_and_the_update_is_the_same(tmp_path: Path) -> None:
    sizes, weights = train(tmp_path / "scarce", spare_mib=250, micro_batch_size=0)
    assert sizes
    assert sizes == [128 >> number for number in range(len(sizes))]
    _, expected = train(tmp_path / "ample", spare_mib=0, micro_batch_size=sizes[-1])
    assert weights == expected
