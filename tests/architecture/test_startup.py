"""What a user waits on never loads PyTorch."""

import statistics
import subprocess
import sys
import time

import pytest

_HEAVY = ("torch", "torchvision", "onnx", "onnxruntime", "matplotlib", "jinja2")


def _modules_after(*arguments: str) -> set[str]:
    """Run a command in a new process and return the modules it had loaded at the end."""
    script = (
        "import sys\n"
        "from alexnet_cli.cli.app import main\n"
        "try:\n    main(sys.argv[1:])\n"
        "finally:\n    print('\\n'.join(['MODULES', *sys.modules]), file=sys.stderr)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
    )
    return set(result.stderr.partition("MODULES\n")[2].split())


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("--version",),
        ("train", "--help"),
        ("predict", "--help"),
        ("config",),
        ("config", "--schema"),
        ("config", "--toml"),
        ("report", "--help"),
        ("download", "--data", "shapes"),
        ("data",),
        ("data", "--help"),
        ("data", "verify"),
        ("data", "show", "--data", "shapes", "--count", "1"),
    ],
)
def test_heavy_libraries_stay_out(arguments: tuple[str, ...]) -> None:
    loaded = _modules_after(*arguments)
    assert "alexnet_cli.cli.app" in loaded
    assert loaded.isdisjoint(_HEAVY)


@pytest.mark.alone
@pytest.mark.parametrize("arguments", [("--help",), ("train", "--help")])
def test_help_is_quick(arguments: tuple[str, ...]) -> None:
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "alexnet_cli", *arguments], capture_output=True, check=True
        )
        seconds.append(time.perf_counter() - begin)
    # The promise is 0.3 s; the margin is for busy machines.
    assert statistics.median(seconds) < 0.9
