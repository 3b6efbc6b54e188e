"""Debian's Chromium, and what else the tests of pages need."""

import importlib.util
import os
import shutil

import pytest

CHROMIUM = shutil.which("chromium")
PHONE, DESKTOP = {"width": 360, "height": 740}, {"width": 1280, "height": 900}


def browser_marks(npm_path, npm_reason):
    """Return the marks of a module, which skip it where something is missing.

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


@pytest.fixture(scope="module")
def chromium():
    from playwright.sync_api import sync_playwright

    # Software stands in for a graphics card, so that WebGPU has something to run on.
    flags = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def complaints():
    """What the console prints and what pages raise; a test clears what it expects."""
    return []


@pytest.fixture
def open_page(chromium, complaints):
    """Open a page; afterwards there must be no complaint and no request to another site."""
    contexts, sites, requests = [], ["data:"], []

    def open_page(url, **options):
        site = url if url.startswith("http:") else "file:"
        sites.extend([site, f"blob:{site}"])
        contexts.append(chromium.new_context(**{"viewport": DESKTOP, **options}))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [url for url in requests if not url.startswith(tuple(sites))] == []
    assert complaints == []
