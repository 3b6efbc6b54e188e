"""`alexnet evaluate --corrupt`, on whatever a model may be."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Run
from tests.made_runs import copy_run

_RUN = Path("runs/alexnet-cifar-shapes")


@pytest.mark.parametrize("corruption", ["noise:5", "jpeg:5"])
def test_a_checkpoint_and_its_exports_see_the_same_bytes(
    corruption: str, trained_folder: Path, isolated: Path, alexnet: Run
) -> None:
    copy_run(trained_folder, isolated)
    confusions = []
    for path, size in ((_RUN, 50), (_RUN / "model.onnx", 7), (_RUN / "model.safetensors", 50)):
        result = alexnet("evaluate", path, "--corrupt", corruption, "--json", "-b", size)
        assert result.returncode == 0, result.stderr
        document = json.loads(result.stdout)
        assert document["corruption"] == corruption
        assert np.sum(document["confusion"]) == 60
        confusions.append(document["confusion"])
    assert confusions[0] == confusions[1] == confusions[2]


def test_another_word_is_refused_before_a_model_is_looked_for(alexnet: Run) -> None:
    result = alexnet("evaluate", "--corrupt", "fog:1")
    assert result.returncode == 2
    assert "no corruption is called 'fog:1'" in result.stderr
    assert "noise, blur, jpeg, contrast" in result.stderr
