"""Versions of the optional peers."""

import functools
import importlib
import subprocess
from importlib import metadata

OF_PREDICT = ("timm", "ultralytics")
_PRINT_VERSION = "import sys; from importlib import metadata; print(metadata.version(sys.argv[1]))"


@functools.cache
def timm_version() -> str | None:
    """Return the version of timm, or None if it cannot be imported."""
    try:
        importlib.import_module("timm.data")
    except ImportError:
        return None
    return metadata.version("timm")


def version_in(python: str, name: str) -> str | None:
    """Return the version of a package in another environment, or None if it is not installed.

    It is not imported: Ultralytics would write its settings into the home folder.

    Args:
        python: The interpreter of that environment.
        name: The package.
    """
    command = [python, "-c", _PRINT_VERSION, name]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() if result.returncode == 0 else None
