"""What the tests in a browser need."""

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium")


def browser_marks(npm_path: Path, words: str) -> list[pytest.MarkDecorator]:
    """Return the marks of a module, which skip it where something is missing.

    Args:
        npm_path: What npm installs.
        words: How to say that it is not there.

    Raises:
        RuntimeError: Something is missing, and ALEXNET_TEST_BROWSER says that it must not.
    """
    reason = None
    if CHROMIUM is None:
        reason = "no chromium on the PATH"
    elif importlib.util.find_spec("playwright") is None:
        reason = "no Playwright: pip install -e '.[browser]'"
    elif not npm_path.exists():
        reason = words
    if reason and os.environ.get("ALEXNET_TEST_BROWSER") == "required":
        raise RuntimeError(reason)
    return [pytest.mark.browser, pytest.mark.skipif(reason is not None, reason=str(reason))]
