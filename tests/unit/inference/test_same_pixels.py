"""One image file goes through training, evaluation and prediction: the same pixels each time."""

import numpy as np
import pytest
import torch
from PIL import Image

from alexnet_cli.data import datasets as catalog
from alexnet_cli.data.arrays import load_if_fits
from alexnet_cli.data.batches import BatchSettings, StreamingBatches, make_batches
from alexnet_cli.evaluation.measure import predict_probabilities
from alexnet_cli.inference.classify import read_crop
from alexnet_cli.inference.inputs import Source
from alexnet_cli.inference.session import load_model

ORIENTATION = 0x0112


@pytest.fixture(scope="module")
def image_files(tmp_path_factory):
    """A dataset of two classes with every odd thing an image may have."""
    root = tmp_path_factory.mktemp("photos")
    draw = np.random.default_rng(0)

    def noise(width, height, channels=3):
        small = draw.integers(0, 256, (height // 8, width // 8, channels), np.uint8)
        return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)

    turned = Image.Exif()
    turned[ORIENTATION] = 6
    deep = np.linspace(0, 65535, 48 * 64).astype(np.uint16).reshape(48, 64)
    for name, image, options in (
        ("a/large.jpg", noise(1_001, 700), {"quality": 90}),
        ("a/turned.jpg", noise(320, 200), {"exif": turned}),
        ("a/glass.png", noise(64, 80, 4), {}),
        ("a/deep.png", Image.fromarray(deep), {}),
        ("b/palette.gif", noise(96, 64).convert("P"), {}),
        ("b/exact.bmp", noise(16, 16).resize((12, 12)), {}),
        ("b/tiny.webp", noise(8, 24), {"lossless": True}),
        ("b/inks.tiff", noise(40, 32).convert("CMYK"), {}),
    ):
        path = root / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, **options)
    return root


def trained_on(source, model, *, streamed):
    """Return the centre of what training sees of each file, by label and file in their order."""
    side = model.manifest.input.image_size_px
    settings = BatchSettings(side, 3, pad_px=0, flip=False, seed=0)
    cpu = torch.device("cpu")
    if streamed:
        batches = StreamingBatches(source, settings, device=cpu, num_workers=2)
    else:
        batches = make_batches(
            load_if_fits(source, size_px=side, num_workers=2), settings, device=cpu
        )
    squares = [batch.images_BSSC.numpy() for batch in batches.epoch(0, crop_size_px=side)]
    return np.concatenate(squares)


class Recorder:
    """A model that remembers what it is shown."""

    def __init__(self):
        self.seen = []

    def __call__(self, crops):
        self.seen.extend(crops)
        return np.zeros((len(crops), 2), np.float32)


@pytest.mark.parametrize("streamed", [False, True])
def test_training_evaluation_and_prediction_see_the_same_pixels(exported, image_files, streamed):
    model = load_model(exported.whole / "model.onnx", device="cpu")
    source = catalog.find_dataset(str(image_files)).load_train()
    paths = [source.root / name for name in source.names_N]
    assert len(paths) == 8

    predicted = [read_crop(model, Source(str(path), path)) for path in paths]
    piped = [read_crop(model, Source("-", path.read_bytes())) for path in paths]
    np.testing.assert_array_equal(predicted, piped)

    recorder = Recorder()
    spec = model.manifest.input
    predict_probabilities(recorder, source, model.manifest, batch_size=3, num_workers=2)
    np.testing.assert_array_equal(recorder.seen, predicted)

    # Training deals in random order, and cuts random windows; these are the whole squares.
    margin = (spec.image_size_px - spec.crop_size_px) // 2
    squares = trained_on(source, model, streamed=streamed)
    centres = squares[:, margin:-margin, margin:-margin]
    assert sorted(crop.tobytes() for crop in centres) == sorted(c.tobytes() for c in predicted)
