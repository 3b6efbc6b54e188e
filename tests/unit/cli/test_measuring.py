import dataclasses

import numpy as np
import pytest

from alexnet_cli.data.arrays import ImageArrays
from alexnet_cli.evaluation.output import compare_with_first, measure
from alexnet_cli.training.open_model import open_model

LABELS = np.arange(40) % 5


@pytest.fixture
def opened(exported):
    return open_model(exported.whole / "model.onnx", device="cpu")


@pytest.fixture
def images(exported):
    return ImageArrays(exported.images_BSSC, LABELS)


def test_name_path_and_answers(opened, images):
    found = measure(opened, images, name="mine", quiet=True)
    assert (found.name, found.path) == ("mine", str(opened.path))
    assert found.probabilities_NK.shape == (40, 5)
    assert found.result.top1 == (found.probabilities_NK.argmax(axis=1) == LABELS).mean()
    assert measure(opened, images, quiet=True).name == str(opened.path)


def test_answers_that_are_no_numbers_are_told_also_when_quiet(opened, images, capsys):
    def overflowing(crops):
        logits = opened.logits(crops)
        logits[:3] = np.inf  # as a half-precision graph may
        return logits

    broken = dataclasses.replace(opened, logits=overflowing)
    found = measure(broken, images, batch_size=40, quiet=True)
    assert "no number for an answer to 3 of 40 images" in capsys.readouterr().err
    assert found.result.num_unanswered == 3
    assert np.sum(found.result.confusion) == 37
    assert sum(row.num_images for row in found.result.classes) == 40
    whole = measure(opened, images, quiet=True)
    (comparison,) = compare_with_first([whole, found], LABELS)
    assert comparison.only_second == 0
    assert comparison.only_first == (whole.probabilities_NK[:3].argmax(axis=1) == LABELS[:3]).sum()
    assert capsys.readouterr().err == ""
