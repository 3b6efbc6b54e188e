"""Damaged models: an answer or a ModelFileError, and ONNX Runtime does not crash."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from alexnet_cli.manifest import InputSpec, Manifest, Network, Provenance
from alexnet_cli.networks import network_spec
from tests.faults.conftest import IS_LONG
from tests.faults.file_reader import FileReader
from tests.faults.mutants import mutate

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3_600 if IS_LONG else 300)]

_MUTANTS = 20_000 if IS_LONG else 500
ONNX, SAFETENSORS = "model.onnx", "model.safetensors"


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small network: `whole` has independent files, `shared` a graph beside its weights."""
    from alexnet_cli.export.parity import Compared
    from alexnet_cli.export.settings import ExportSettings, Format
    from alexnet_cli.export.write import export_model
    from alexnet_cli.models.build import build_network

    spec = network_spec(Network.CUDA_CONVNET_80SEC, num_classes=3, crop_size_px=16)
    scaling = InputSpec(16, 16, scale=(0.02, 0.02, 0.02), shift=(-2.0, -2.0, -2.0))
    origin = Provenance("shapes", 5, 20, 3, 0.5, "0" * 64, {"torch": "2"})
    folders = {}
    for name in ("whole", "shared"):
        folders[name] = tmp_path_factory.mktemp(name)
        export_model(
            build_network(spec, seed=1),
            Manifest(spec, scaling, ("a", "b", "c"), origin),
            folders[name],
            ExportSettings(Format.ALL, shared_weights=name == "shared"),
            Compared(np.zeros((2, 16, 16, 3), np.uint8)),
        )
    return folders


def hot_places(content: bytes, name: str) -> tuple[range, ...]:
    """Return where damage tells most: the header of safetensors, the ends of ONNX."""
    if name == SAFETENSORS:
        length = int.from_bytes(content[:8], "little")
        return range(8), range(8, 8 + length)
    return range(3_000), range(max(0, len(content) - 6_000), len(content))


@pytest.mark.parametrize(
    ("kind", "name"),
    [("whole", ONNX), ("shared", ONNX), ("whole", SAFETENSORS), ("shared", SAFETENSORS)],
)
def test_mutants_of_a_model(
    kind: str,
    name: str,
    exports: dict[str, Path],
    tmp_path: Path,
    report: Callable[[str], None],
) -> None:
    random = np.random.default_rng(10)
    for file in exports[kind].iterdir():
        shutil.copy(file, tmp_path)
    damaged, loaded = tmp_path / name, tmp_path / name
    if kind == "shared":
        loaded = tmp_path / ONNX  # beside damaged weights, it must not crash either
    whole = damaged.read_bytes()
    with FileReader("models") as reader:
        assert reader.read([loaded]) == ["read"]
        for _ in range(_MUTANTS):
            damaged.unlink()  # ONNX Runtime maps the file before it; that one stays as it was
            damaged.write_bytes(mutate(whole, random, hot=hot_places(whole, name)))
            reader.read([loaded])
    report(str(reader))
    assert set(reader.counts) == {"read", "refused"}
