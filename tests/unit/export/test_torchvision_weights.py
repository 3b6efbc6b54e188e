"""torchvision's weights over loopback: a file of the same layout, with its hash in its name."""

import functools
import gc
import hashlib
import http.server
import io
import threading
import warnings

import numpy as np
import pytest
import torch
from torchvision.models import Weights, WeightsEnum, alexnet

from alexnet_cli.errors import DownloadError
from alexnet_cli.export.torchvision_weights import convert, fetch_state_dict
from alexnet_cli.inference.session import load_model
from alexnet_cli.networks import Network
from alexnet_cli.training.open_model import open_pretrained

CLASSES = [f"class {number}" for number in range(12)]


@pytest.fixture(scope="module")
def theirs():
    torch.manual_seed(0)
    return alexnet(num_classes=len(CLASSES)).eval()


@pytest.fixture(scope="module")
def content(theirs):
    buffer = io.BytesIO()
    torch.save(theirs.state_dict(), buffer)
    return buffer.getvalue()


def name_of(content):
    return f"alexnet-owt-{hashlib.sha256(content).hexdigest()[:8]}.pth"


@pytest.fixture(scope="module")
def server(content, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    for kind, body in (
        ("right", content),
        ("other", content[:-9] + b"123456789"),
        ("short", content[:5000]),
    ):
        (folder / kind).mkdir()
        (folder / kind / name_of(content)).write_bytes(body)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def entry(base, kind, content):
    meta = {"categories": CLASSES, "_metrics": {"ImageNet-1K": {"acc@1": 56.522}}}

    class LocalWeights(WeightsEnum):
        V1 = Weights(url=f"{base}/{kind}/{name_of(content)}", transforms=None, meta=meta)

    return LocalWeights.V1


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3), np.uint8)


def test_fetched_and_converted_weights_answer_as_in_torchvision(
    server, content, theirs, images, isolated
):
    weights = entry(server, "right", content)
    state = fetch_state_dict(weights, show_progress=False)
    written = convert(state, weights, isolated / "owt", images)
    model = load_model(written.path, device="cpu")
    assert model.manifest.classes == tuple(CLASSES)
    assert model.manifest.network.name is Network.ALEXNET_OWT
    assert model.manifest.provenance.val_top1 == pytest.approx(0.56522)
    assert model.manifest.provenance.init == weights.url
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.inference_mode():
        expected = theirs((pixels - mean[:, None, None]) / std[:, None, None]).numpy()
    np.testing.assert_allclose(model.logits(images), expected, rtol=1e-4, atol=1e-5)
    again = open_pretrained(str(written.path))
    assert all(torch.equal(again.tensors[name], value) for name, value in state.items())


@pytest.fixture
def leftovers():
    """torch.hub leaves its connection to the garbage collector, which warns."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.usefixtures("leftovers")
@pytest.mark.parametrize(
    ("kind", "reason"),
    [("other", "not the published file"), ("short", "not the published file"),
     ("absent", "answered 404")],
)  # fmt: skip
def test_other_bytes_and_http_errors_are_refused(server, content, kind, reason):
    with pytest.raises(DownloadError, match=reason) as caught:
        fetch_state_dict(entry(server, kind, content), show_progress=False)
    assert "--weights owt" in caught.value.hint


def test_no_connection_is_an_error(content):
    with pytest.raises(DownloadError, match="no connection"):
        fetch_state_dict(entry("http://127.0.0.1:9", "right", content), show_progress=False)
