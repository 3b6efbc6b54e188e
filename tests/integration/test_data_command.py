"""`alexnet data`, `data verify` and `data show`."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet_cli.files import cache_folder
from tests.conftest import Run


def _photos(root: Path, classes: tuple[str, ...] = ("ant", "bee", "cat"), count: int = 9) -> Path:
    for index, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = np.random.default_rng([index, number]).integers(0, 256, (40, 30, 3), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def test_a_damaged_archive_is_named_with_the_command_that_repairs_it(
    synthetic_archive: Path, alexnet: Run
) -> None:
    arguments = ("download", "--archive", synthetic_archive, "--sha256")
    hint = alexnet("download", "--archive", synthetic_archive).stderr
    assert alexnet(*arguments, hint.split()[-1]).returncode == 0
    listed = alexnet("data")
    assert listed.returncode == 0
    assert str(cache_folder()) in listed.stdout
    assert "complete" in listed.stdout
    assert json.loads(alexnet("data", "--json").stdout)["folder"] == str(cache_folder())
    sound = alexnet("data", "verify", "--json")
    assert sound.returncode == 0
    assert json.loads(sound.stdout)["is_sound"] is True
    with (cache_folder() / "cifar-10-binary.tar.gz").open("r+b") as file:
        file.seek(1000)
        file.write(b"\0" * 10)
    for flags in ((), ("--json",), ("--quiet",)):
        broken = alexnet("data", "verify", *flags)
        assert broken.returncode == 1
        assert "damaged" in broken.stdout
        assert "alexnet download --data cifar10 --force" in broken.stderr
    assert json.loads(alexnet("data", "verify", "--json").stderr)["error"]["code"] == (
        "data_corrupt"
    )


def test_the_repair_of_an_array_cache_works(alexnet: Run) -> None:
    import subprocess

    path = cache_folder() / "with space" / "array.npy"
    path.parent.mkdir(parents=True)
    np.save(path, np.arange(3))
    broken = alexnet("data", "verify")
    assert broken.returncode == 1
    command = broken.stderr.partition("hint: ")[2].strip()
    subprocess.run(shlex.split(command), check=True)
    assert alexnet("data", "verify").returncode == 0


def test_json_belongs_behind_the_command(alexnet: Run) -> None:
    result = alexnet("data", "--json", "verify")
    assert result.returncode == 2
    assert json.loads(result.stderr)["error"]["hint"].endswith("alexnet data verify --json")


@pytest.mark.parametrize("extra", [(), ("--augmented", "--crop_size", "24"), ("--split", "val")])
def test_a_sheet_of_a_small_folder(isolated: Path, alexnet: Run, extra: tuple[str]) -> None:
    _photos(isolated / "photos")
    result = alexnet("data", "show", "--data", "photos", *extra)
    assert result.returncode == 0, result.stderr
    path = Path(result.stdout.strip())
    assert path.name.startswith("photos-")
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert min(image.size) > 90


def test_settings_come_from_the_configuration_of_a_run(isolated: Path, alexnet: Run) -> None:
    _photos(isolated / "photos")
    settings = ('data = "photos"', "crop_size = 16", "colour_noise = 0.0", "val_size = 2")
    (isolated / "run.toml").write_text("\n".join(settings))
    flags = ("--data", "photos", "--crop-size", "16", "--val-size", "2")
    shown = [
        alexnet("data", "show", "--augmented", "--count", "2", "-o", f"{name}.png", *given)
        for name, given in (
            ("config", ("--config", "run.toml")),
            ("flags", (*flags, "--colour-noise", "0")),
            ("other", (*flags, "--seed", "1")),
        )
    ]
    assert [result.returncode for result in shown] == [0, 0, 0]
    sheets = [Path(f"{name}.png").read_bytes() for name in ("config", "flags", "other")]
    assert sheets[0] == sheets[1] != sheets[2]


def test_json_and_classes(alexnet: Run) -> None:
    result = alexnet("data", "show", "--data", "shapes", "--class", "star", "--class", "heart",
                          "--count", "3", "--json")  # fmt: skip
    document = json.loads(result.stdout)
    assert document == {
        "path": "shapes-train.png", "data": "shapes", "split": "train", "augmented": False,
        "num_images": 6,
    }  # fmt: skip
