"""Damaged models: an answer or a ModelFileError, and ONNX Runtime does not crash."""

import shutil

import numpy as np
import pytest

from tests.faults.conftest import few_or
from tests.faults.file_reader import FileReader
from tests.faults.mutants import mutate

ONNX, SHARED, SAFETENSORS = "model.onnx", "model-shared.onnx", "model.safetensors"


def hot_places(content, name):
    """Return where damage tells most: the header of safetensors, the ends of ONNX."""
    if name == SAFETENSORS:
        length = int.from_bytes(content[:8], "little")
        return range(8), range(8, 8 + length)
    return range(3_000), range(max(0, len(content) - 6_000), len(content))


@pytest.mark.parametrize("num_mutants", few_or(500, few=25, long=20_000))
@pytest.mark.parametrize(
    ("kind", "name"),
    [("whole", ONNX), ("shared", SHARED), ("whole", SAFETENSORS), ("shared", SAFETENSORS)],
)
def test_mutants_of_a_model(kind, name, num_mutants, exports, tmp_path, report):
    random = np.random.default_rng(10)
    for file in (exports / kind).iterdir():
        shutil.copy(file, tmp_path)
    damaged, loaded = tmp_path / name, tmp_path / name
    if kind == "shared":
        loaded = tmp_path / SHARED  # beside damaged weights, it must not crash either
    whole = damaged.read_bytes()
    with FileReader("models") as reader:
        assert reader.read([loaded]) == ["read"]
        for _ in range(num_mutants):
            damaged.unlink()  # ONNX Runtime maps the file before it; that one stays as it was
            damaged.write_bytes(mutate(whole, random, hot=hot_places(whole, name)))
            reader.read([loaded])
    report(str(reader))
    assert set(reader.counts) == {"read", "refused"}
