"""Things that must not slip into the repository."""

import re
import subprocess
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]


def _tracked() -> list[Path]:
    result = subprocess.run(
        ["git", "ls-files"], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        pytest.skip("not a git checkout")
    return [_ROOT / line for line in result.stdout.splitlines()]


def test_no_registry_host_and_no_data() -> None:
    names = ("pypi", "pythonhosted", "download.pytorch", "registry.npmjs", "conda.anaconda")
    hosts = re.compile("|".join(re.escape(name) + r"\.(?:org|com)" for name in names))
    offenders = [
        path
        for path in _tracked()
        if path.stat().st_size > 2_000_000 or hosts.search(path.read_text(errors="replace"))
    ]
    assert offenders == []
