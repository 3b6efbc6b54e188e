"""The example in `examples/web`, in Debian's Chromium, against `alexnet predict`.

Needs `chromium` on the PATH, Playwright for Python (it drives that Chromium, it downloads none) and
`npm install` in `examples/web`; skips without them, unless `nox -s browser` runs it.
"""

import base64
import functools
import http.server
import json
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image, ImageOps

from alexnet_cli.image import prepare_image
from alexnet_cli.manifest import METADATA_KEY
from tests.browser.conftest import DESKTOP, PHONE, browser_marks
from tests.odd_images import write_odd_images

_EXAMPLE = Path(__file__).parents[2] / "examples" / "web"

pytestmark = browser_marks(
    _EXAMPLE / "node_modules" / "onnxruntime-web",
    "no onnxruntime-web: npm install in examples/web",
)


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def site(exported, tmp_path):
    """The example's own files beside a model, and their address."""
    folder = tmp_path / "site"
    shutil.copytree(_EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules", "model.onnx"))
    (folder / "node_modules").symlink_to(_EXAMPLE / "node_modules")
    shutil.copy(exported.whole / "model.onnx", folder)
    handler = functools.partial(_QuietHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Site(folder, f"http://127.0.0.1:{server.server_port}/")
        server.shutdown()


@dataclass(frozen=True)
class Site:
    folder: Path
    address: str


@pytest.fixture
def open_page(open_page, site):
    return functools.partial(open_page, site.address)


def hand_over(page, path, *, event):
    """Let a file arrive as a drop or from the clipboard."""
    content = base64.b64encode(path.read_bytes()).decode()
    page.evaluate(
        """async ([content, name, kind]) => {
          const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
          const data = new DataTransfer();
          data.items.add(new File([bytes], name));
          const event = kind === "drop"
            ? new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
            : new ClipboardEvent("paste", { clipboardData: data, bubbles: true });
          document.querySelector("#drop").dispatchEvent(event);
        }""",
        [content, path.name, event],
    )


def wait_for(page, path):
    page.get_by_role("img", name=f"The chosen image, {path.name}").wait_for()


def answers(page):
    """Return the probability of each class that the page shows."""
    pairs = page.locator("#classes li").evaluate_all(
        "items => items.map(item => [item.children[0].textContent, item.children[1].dataset.p])"
    )
    return {name: float(p) for name, p in pairs}


def seen(page):
    """Return the pixels that the page gave to the network."""
    side, rgba = page.locator("#seen").evaluate(
        "c => [c.width, [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]]"
    )
    return np.array(rgba, np.uint8).reshape(side, side, 4)[..., :3]


def predicted(alexnet, exported, path):
    result = alexnet(
        "predict", path, "--model", exported.whole / "model.onnx", "--json", "--device", "cpu"
    )
    assert result.returncode == 0, result.stderr
    return {entry["class"]: entry["probability"] for entry in json.loads(result.stdout)["top"]}


def photograph(width, height):
    """A smooth picture with grain, as a photograph has."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / width * a + y / height * b) for a, b in ((7, 3), (2, 9), (11, 5))]
    grain = np.random.default_rng(width).normal(0, 12, (height, width, 3))
    return Image.fromarray(np.clip(np.stack(waves, -1) * 90 + 128 + grain, 0, 255).astype(np.uint8))


@pytest.mark.parametrize(
    ("width", "height"), [(12, 12), (8, 8), (5, 9), (37, 12), (101, 70), (640, 481), (900, 1203)]
)
def test_the_same_pixels_and_answers_as_predict(
    open_page, exported, alexnet, tmp_path, width, height
):
    path = tmp_path / f"{width}.png"
    photograph(width, height).save(path)
    page = open_page()
    hand_over(page, path, event="drop")
    wait_for(page, path)
    expected = prepare_image(path, image_size_px=12, crop_size_px=8)
    np.testing.assert_array_equal(seen(page), expected)
    assert answers(page) == pytest.approx(predicted(alexnet, exported, path), abs=1e-4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(open_page, exported, alexnet, tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"{orientation}.png"
    photograph(40, 31).save(path, exif=exif)
    page = open_page()
    hand_over(page, path, event="drop")
    wait_for(page, path)
    expected = prepare_image(path, image_size_px=12, crop_size_px=8)
    np.testing.assert_array_equal(seen(page), expected)


@pytest.mark.parametrize(
    ("name", "side", "levels"),
    [
        ("transparent.png", 40, 2),
        ("small.jpg", 23, 2),
        ("large.jpg", 1000, 9),
        ("lossy.webp", 90, 2),
    ],
)
def test_where_it_differs_it_differs_little(open_page, tmp_path, name, side, levels):
    """Transparency is rounded otherwise, decoders differ, a large JPEG is shrunk in decoding."""
    path, image = tmp_path / name, photograph(side, side)
    if name == "transparent.png":
        image.putalpha(ImageOps.grayscale(photograph(side + 1, side).resize(image.size)))
    image.save(path)
    page = open_page()
    hand_over(page, path, event="drop")
    wait_for(page, path)
    expected = prepare_image(path, image_size_px=12, crop_size_px=8)
    difference = np.abs(seen(page).astype(int) - expected)
    assert difference.max() <= levels


def test_odd_images(open_page, complaints, tmp_path):
    """The set that `predict`, `evaluate`, the API and the other examples answer alike."""
    page = open_page()
    for path in map(Path, write_odd_images(tmp_path / "odd")):
        hand_over(page, path, event="drop")
        if path.suffix == ".tif":
            page.get_by_text(f"“{path.name}” is not an image that this browser can read").wait_for()
            continue
        wait_for(page, path)
        expected = prepare_image(path, image_size_px=12, crop_size_px=8)
        difference = np.abs(seen(page).astype(int) - expected).max()
        assert difference <= (path.name == "grey-16.png"), path.name  # 16 bits rounded, or cut off
    assert all("willReadFrequently" in each for each in complaints)  # of `seen`, not of the page
    complaints.clear()


def test_drop_choose_and_paste(open_page, exported, alexnet, tmp_path):
    page = open_page()
    seen_so_far = []
    for number, way in enumerate(("drop", "choose", "paste")):
        path = tmp_path / f"{way}.png"
        Image.fromarray(exported.images_BSSC[number]).resize((12, 12)).save(path)
        if way == "choose":
            page.set_input_files("#file", path)
        else:
            hand_over(page, path, event=way)
        wait_for(page, path)
        expected = predicted(alexnet, exported, path)
        assert answers(page) == pytest.approx(expected, abs=1e-4)
        best = max(expected, key=expected.__getitem__)
        status = page.get_by_role("status").text_content()
        assert status == f"{best}, {100 * expected[best]:.1f} %"
        seen_so_far.append(tuple(answers(page)))
    assert len(set(seen_so_far)) > 1  # the three are not the same answer three times
    assert "Ran on wasm in" in page.locator("#ran").text_content()


def test_webgpu_gives_the_same_answers_or_says_why_not(open_page, exported, alexnet, tmp_path):
    path = tmp_path / "image.png"
    photograph(64, 48).save(path)
    page = open_page()
    if not page.evaluate("navigator.gpu?.requestAdapter().then(Boolean)"):
        assert page.locator("#webgpu").is_disabled()
        pytest.skip("this Chromium has no WebGPU adapter, not even in software")
    page.select_option("#device", "webgpu")
    hand_over(page, path, event="drop")
    page.get_by_text("Ran on webgpu in").wait_for()
    assert answers(page) == pytest.approx(predicted(alexnet, exported, path), abs=1e-3)


def test_by_keyboard_alone(open_page, tmp_path):
    path = tmp_path / "image.png"
    photograph(30, 20).save(path)
    page = open_page()
    # Playwright takes the dialog's place from the first listener on, and does not wait for that.
    page.on("filechooser", lambda _: None)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(path)
    wait_for(page, path)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "device"


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_the_page_fits(open_page, tmp_path, viewport, colours):
    path = tmp_path / "a-picture-with-quite-a-long-name-and-no-spaces-in-it-at-all-20261125.png"
    photograph(800, 600).save(path)
    page = open_page(viewport=viewport, color_scheme=colours)
    hand_over(page, path, event="drop")
    wait_for(page, path)
    page.screenshot(path=tmp_path / "result.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    (tmp_path / "no image.png").write_text("words")
    hand_over(page, tmp_path / "no image.png", event="drop")
    page.get_by_text("is not an image").wait_for()
    page.screenshot(path=tmp_path / "error.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_what_is_no_image(open_page, tmp_path):
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    photograph(20, 20).save(good)
    bad.write_text("words")
    page = open_page()
    hand_over(page, bad, event="drop")
    alert = page.get_by_role("alert")
    alert.get_by_text("“bad.png” is not an image that this browser can read").wait_for()
    page.evaluate(
        """document.body.dispatchEvent(
          new DragEvent("drop", { dataTransfer: new DataTransfer(), bubbles: true }))"""
    )
    alert.get_by_text("That was not a file").wait_for()
    hand_over(page, good, event="drop")  # and it goes on
    wait_for(page, good)
    assert alert.text_content() == ""


def _truncated(path):
    return path.read_bytes()[:100_000]


def _without_manifest(path):
    model = onnx.load(path)
    del model.metadata_props[:]
    return model.SerializeToString()


def _with_other_schema(path):
    model = onnx.load(path)
    entry = next(entry for entry in model.metadata_props if entry.key == METADATA_KEY)
    entry.value = json.dumps({**json.loads(entry.value), "schema": 99})
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (None, "There is no model.onnx beside this page"),
        (_truncated, "cut short, or no ONNX file"),
        (lambda _: b"\xff" * 300, "no ONNX file"),
        (lambda _: b"<!doctype html><title>Not found</title>", "no ONNX file"),
        (_without_manifest, "no manifest"),
        (_with_other_schema, "schema 99"),
    ],
)
def test_a_damaged_model_is_an_error(open_page, site, complaints, tmp_path, damage, message):
    model = site.folder / "model.onnx"
    content = damage(model) if damage else b""
    model.unlink()
    if damage:
        model.write_bytes(content)
    path = tmp_path / "image.png"
    photograph(20, 20).save(path)
    page = open_page()
    page.get_by_role("alert").get_by_text(message).wait_for()
    assert "alexnet export --format onnx" in page.get_by_role("alert").text_content()
    hand_over(page, path, event="drop")  # an image does not make it better
    page.get_by_role("alert").get_by_text(message).wait_for()
    assert page.locator("#result").is_hidden()
    if damage is None:  # Chromium's message about a 404
        complaints.clear()


def test_a_graph_with_shared_weights_is_refused(open_page, site, complaints, exported):
    shutil.copy(exported.shared / "model-shared.onnx", site.folder / "model.onnx")
    page = open_page()
    page.get_by_role("alert").get_by_text("without --shared-weights").wait_for()
    complaints.clear()  # ONNX Runtime's own message


def test_a_missing_runtime_names_npm_install(open_page, site, complaints):
    (site.folder / "node_modules").unlink()
    page = open_page()
    page.get_by_role("alert").get_by_text("npm install").wait_for()
    complaints.clear()
