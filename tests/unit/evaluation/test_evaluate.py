import numpy as np
import pytest
import torch
from torch import nn

from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.evaluation.measure import evaluate
from alexnet_cli.evaluation.metrics import softmax
from alexnet_cli.image import crop_centre, resize_square
from alexnet_cli.manifest import InputSpec
from alexnet_cli.models.layers import torch_logits

CLASSES = ("a", "b", "c")
SPEC = InputSpec(12, 8, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
NUM_IMAGES = 7


class Recorder:
    """A real, if simple, model: logits are means of three parts of the crop."""

    def __init__(self):
        self.calls = []

    def __call__(self, crops):
        self.calls.append(crops)
        means = crops.astype(np.float32).mean(axis=(1, 2)) / 40
        means[:, 0] += crops[:, 0, 0, 0] / 60.0  # a mirrored crop answers otherwise
        return means


def draw(side):
    generator = np.random.default_rng(side)
    images = generator.integers(0, 256, (NUM_IMAGES, side, side, 3), dtype=np.uint8)
    return images, generator.integers(0, 3, NUM_IMAGES)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 7, 100])
def test_every_image_counts_once_whatever_the_batch(batch_size):
    images, labels = draw(12)
    model, counts = Recorder(), []
    found = evaluate(
        model, ImageArrays(images, labels), spec=SPEC, classes=CLASSES, batch_size=batch_size,
        on_batch=counts.append,
    )  # fmt: skip
    assert max(counts) <= batch_size
    assert sum(counts) == found.num_images == NUM_IMAGES
    np.testing.assert_array_equal(np.concatenate(model.calls), images[:, 2:10, 2:10])
    probabilities = softmax(Recorder()(images[:, 2:10, 2:10]))
    expected = np.zeros((3, 3), int)
    for row, label in zip(probabilities, labels, strict=True):
        expected[label, row.argmax()] += 1
    assert np.array(found.confusion).tolist() == expected.tolist()
    assert found.top1 == pytest.approx(np.trace(expected) / NUM_IMAGES)
    assert found.loss == pytest.approx(-np.log(probabilities[range(NUM_IMAGES), labels]).mean())
    assert found.top5 == 1.0
    assert [row.num_images for row in found.classes] == expected.sum(axis=1).tolist()


def test_images_of_another_size_are_resized_as_predict_does():
    images, labels = draw(30)
    model = Recorder()
    evaluate(model, ImageArrays(images, labels), spec=SPEC, classes=CLASSES, batch_size=4)
    expected = [crop_centre(resize_square(image, 12), 8) for image in images]
    np.testing.assert_array_equal(np.concatenate(model.calls), np.stack(expected))


def test_the_probabilities_of_ten_views_are_averaged():
    images, labels = draw(12)
    found = evaluate(
        Recorder(),
        ImageArrays(images, labels),
        spec=SPEC,
        classes=CLASSES,
        num_views=10,
        batch_size=3,
    )
    total = np.zeros((NUM_IMAGES, 3))
    for top, left in [(2, 2), (0, 0), (0, 4), (4, 0), (4, 4)]:
        crop = images[:, top : top + 8, left : left + 8]
        total += softmax(Recorder()(crop)) + softmax(Recorder()(crop[:, :, ::-1]))
    own = (total / 10)[range(NUM_IMAGES), labels]
    assert found.num_views == 10
    assert found.loss == pytest.approx(-np.log(own).mean(), rel=1e-12)
    single = evaluate(Recorder(), ImageArrays(images, labels), spec=SPEC, classes=CLASSES)
    assert found.loss != pytest.approx(single.loss, rel=1e-6)


@pytest.mark.parametrize("was_training", [True, False])
def test_a_torch_network_answers_in_evaluation_mode_and_is_left_as_it_was(was_training):
    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.dropout, self.linear = nn.Dropout(0.9), nn.Linear(8 * 8 * 3, 3)

        def forward(self, x):
            return self.linear(self.dropout(x.float().flatten(1)))

    torch.manual_seed(0)
    network = Flat().train(was_training)
    images = draw(8)[0]
    logits = torch_logits(network, device=torch.device("cpu"), dtype=torch.float32)(images)
    expected = network.linear(torch.from_numpy(images).float().flatten(1))
    np.testing.assert_allclose(logits, expected.detach().numpy(), rtol=1e-5)
    assert network.training is was_training
