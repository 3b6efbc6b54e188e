"""Which optional peers are installed."""

import functools
import importlib
from importlib import metadata


@functools.cache
def timm_version() -> str | None:
    """Return timm's version, or None where it cannot be imported."""
    try:
        importlib.import_module("timm.data")
    except ImportError:
        return None
    return metadata.version("timm")
