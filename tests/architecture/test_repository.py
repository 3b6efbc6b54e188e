"""Things that must not slip into the repository."""

import ast
import importlib.util
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


@pytest.mark.parametrize("folder", ["examples", "benchmarks", "reproduction", "docs"])
def test_what_scripts_import_exists(folder):
    """Most scripts run in slow tests alone, and types are checked in `src`."""
    for path in sorted((_ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("alexnet_cli"):
                module = importlib.import_module(node.module)
                for each in node.names:
                    name = f"{node.module}.{each.name}"
                    is_there = hasattr(module, each.name) or importlib.util.find_spec(name)
                    assert is_there, f"{path}: {name}"


def test_text_files_name_their_encoding():
    call = re.compile(r"\.(read|write)_text\((?!.*encoding=)(?!inspect)")
    offenders = [
        f"{path.name}: {line.strip()}"
        for path in (_ROOT / "src").rglob("*.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if call.search(line)
    ]
    assert offenders == []
