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


@pytest.fixture
def publish(tmp_path):
    """Serve bytes under the name of the right ones, and return torchvision's entry of them."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))

    def serve(right, body):
        name = f"alexnet-owt-{hashlib.sha256(right).hexdigest()[:8]}.pth"
        if body is not None:
            (tmp_path / name).write_bytes(body)
        return entry(f"http://127.0.0.1:{server.server_port}/{name}")

    with server:
        thread.start()
        yield serve
        server.shutdown()
        thread.join()


def entry(url):
    meta = {"categories": CLASSES, "_metrics": {"ImageNet-1K": {"acc@1": 56.522}}}

    class LocalWeights(WeightsEnum):
        V1 = Weights(url=url, transforms=None, meta=meta)

    return LocalWeights.V1


@pytest.mark.slow  # it cannot be smaller: 61 million weights
def test_fetched_and_converted_weights_answer_as_in_torchvision(publish, isolated):
    torch.manual_seed(0)
    theirs = alexnet(num_classes=len(CLASSES)).eval()
    buffer = io.BytesIO()
    torch.save(theirs.state_dict(), buffer)
    images = np.random.default_rng(0).integers(0, 256, (4, 224, 224, 3), np.uint8)
    weights = publish(buffer.getvalue(), buffer.getvalue())
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
    ("body", "reason"),
    [(b"other", "not the published file"), (b"righ", "not the published file"),
     (None, "answered 404")],
)  # fmt: skip
def test_other_bytes_and_http_errors_are_refused(publish, body, reason):
    with pytest.raises(DownloadError, match=reason) as caught:
        fetch_state_dict(publish(b"right", body), show_progress=False)
    assert "--weights owt" in caught.value.hint


def test_no_connection_is_an_error():
    with pytest.raises(DownloadError, match="no connection"):
        fetch_state_dict(entry("http://127.0.0.1:9/owt-01234567.pth"), show_progress=False)
