"""What the tests in a browser need."""

import importlib.util
import os
import shutil

import pytest

CHROMIUM = shutil.which("chromium")
PHONE, DESKTOP = {"width": 360, "height": 740}, {"width": 1280, "height": 900}


def browser_marks(npm_path, npm_reason):
    """Return the marks of a module, which skip it where something is missing.

    Args:
        npm_path: What npm installs.
        npm_reason: Why the tests are skipped without it.

    Raises:
        RuntimeError: Something is missing, and ALEXNET_TEST_BROWSER requires it.
    """
    reason = None
    if CHROMIUM is None:
        reason = "no chromium on the PATH"
    elif importlib.util.find_spec("playwright") is None:
        reason = "no Playwright: pip install -e '.[browser]'"
    elif not npm_path.exists():
        reason = npm_reason
    if reason and os.environ.get("ALEXNET_TEST_BROWSER") == "required":
        raise RuntimeError(reason)
    return [pytest.mark.browser, pytest.mark.skipif(reason is not None, reason=str(reason))]
