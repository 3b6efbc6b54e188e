"""The README's main job."""

import re
from pathlib import Path

import pytest

from tests.conftest import Run


@pytest.mark.alone
@pytest.mark.slow
def test_demo_learns_the_shapes_and_predicts(alexnet: Run) -> None:
    result = alexnet("demo")
    assert result.returncode == 0, result.stderr
    top1 = float(re.search(r"top-1 ([0-9.]+)%", result.stdout)[1])
    assert top1 >= 90
    files = sorted(Path("runs/demo/images").iterdir())
    assert len(files) == 10
    rows = re.findall(r"% +(\w+) +\S*\b\d+-(\w+)\.png$", result.stdout, re.MULTILINE)
    assert len(rows) == 10
    assert sum(answer == truth for answer, truth in rows) >= 7
