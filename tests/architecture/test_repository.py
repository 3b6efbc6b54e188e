"""Things that must not slip into the repository."""

import re
import subprocess
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]


def _tracked():
    result = subprocess.run(
        ["git", "ls-files"], cwd=_ROOT, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        pytest.skip("not a git checkout")
    return [_ROOT / line for line in result.stdout.splitlines()]


def test_no_registry_host_and_no_data():
    names = ("pypi", "pythonhosted", "download.pytorch", "registry.npmjs", "conda.anaconda")
    hosts = re.compile("|".join(re.escape(name) + r"\.(?:org|com)" for name in names))
    offenders = [
        path
        for path in _tracked()
        if path.stat().st_size > 2_000_000 or hosts.search(path.read_text(errors="replace"))
    ]
    assert offenders == []


def test_text_files_name_their_encoding():
    call = re.compile(r"\.(read|write)_text\((?!.*encoding=)(?!inspect)")
    offenders = [
        f"{path.name}: {line.strip()}"
        for path in (_ROOT / "src").rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if call.search(line)
    ]
    assert offenders == []
