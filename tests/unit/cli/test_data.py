import numpy as np
import pytest
import torch

from alexnet_cli.cli.data import augmented_images
from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.data.datasets import find_dataset
from alexnet_cli.training.loop import Trainer
from alexnet_cli.training.run import prepare_run
from tests.made_runs import make_images


@pytest.fixture
def photos(isolated):
    make_images(isolated / "photos", ("ant", "bee", "élan"), per_class=12, side=24)
    return "photos"


@pytest.mark.parametrize("epoch", [0, 1])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"colour_noise": 0.0, "pad": 2, "flip": False},
        {"early_crop_size": 10, "epochs": 1, "seed": 4},
    ],
)
def test_the_preview_shows_the_images_of_the_trainer(photos, isolated, settings, epoch):
    config = TrainConfig(
        **{"data": photos, "image_size": 16, "crop_size": 12, "val_size": 6, "batch_size": 7}
        | settings
    )
    images_NSSC, labels_N, num_training = augmented_images(
        config, find_dataset(photos), labels=[2, 0], count=3, epoch=epoch
    )
    run = prepare_run(config, torch.device("cpu"), name=None, parent=isolated)
    side = images_NSSC.shape[1]
    assert side == (10 if settings.get("early_crop_size") and epoch == 0 else 12)
    assert num_training == len(run.train) == 30
    assert labels_N.tolist() == [2, 2, 2, 0, 0, 0]
    expected = {0: [], 2: []}
    for batch in Trainer(run).batches.epoch(epoch, crop_size_px=side):
        pixels = batch.images_BSSC.to(torch.float64)
        if batch.colours_BC is not None:
            pixels += batch.colours_BC[:, None, None]
        for label, image in zip(batch.labels_B.tolist(), pixels.numpy(), strict=True):
            expected.get(label, []).append(image)
    wanted = np.clip(np.stack(expected[2][:3] + expected[0][:3]), 0, 255)
    assert np.abs(images_NSSC - wanted).max() <= 0.5 + 1e-3


def test_a_class_smaller_than_asked_for_is_shown_entirely(photos):
    config = TrainConfig(data=photos, image_size=16, crop_size=12, val_size=6)
    _, labels_N, _ = augmented_images(config, find_dataset(photos), labels=[1], count=100, epoch=0)
    assert labels_N.tolist() == [1] * 10
