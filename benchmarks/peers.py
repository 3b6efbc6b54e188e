"""Which optional peers are installed."""

import functools
import importlib
import subprocess
from importlib import metadata

OF_PREDICT = ("timm", "ultralytics")
_ASK = "import sys; from importlib import metadata; print(metadata.version(sys.argv[1]))"


@functools.cache
def timm_version() -> str | None:
    """Return timm's version, or None where it cannot be imported."""
    try:
        importlib.import_module("timm.data")
    except ImportError:
        return None
    return metadata.version("timm")


def version_in(python: str, name: str) -> str | None:
    """Return a package's version in another environment, or None where it is not installed.

    It is not imported: Ultralytics would write its settings into the home folder.

    Args:
        python: The interpreter of that environment.
        name: Of the package.
    """
    result = subprocess.run(
        [python, "-c", _ASK, name], capture_output=True, text=True, check=False
    )  # fmt: skip
    return result.stdout.strip() if result.returncode == 0 else None
