"""`alexnet data`, `data verify` and `data show`."""

import json
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet_cli.files import cache_folder
from tests.made_runs import make_images


@pytest.fixture
def photos(isolated):
    return make_images(isolated / "photos", ("ant", "bee", "cat"), per_class=9, side=40)


def test_a_damaged_archive_is_named_with_the_command_that_repairs_it(
    synthetic_archive, succeed, json_of, alexnet
):
    download = ("download", "--archive", synthetic_archive)
    refused = alexnet(*download)
    assert refused.returncode == 1
    assert "not one of the official files" in refused.stderr
    kept = Path(succeed(*download, "--sha256", refused.stderr.split()[-1]).stdout.strip())
    listed = succeed("data").stdout
    assert str(cache_folder()) in listed
    assert "complete" in listed
    assert json_of("data")["folder"] == str(cache_folder())
    assert json_of("data", "verify")["is_sound"] is True
    with kept.open("r+b") as file:
        file.seek(1000)
        file.write(b"\0" * 10)
    for flags in ((), ("--json",), ("--quiet",)):
        broken = alexnet("data", "verify", *flags)
        assert broken.returncode == 1
        assert "damaged" in broken.stdout
        assert "alexnet download --data cifar10 --force" in broken.stderr
        if flags == ("--json",):
            assert json.loads(broken.stderr)["error"]["code"] == "data_corrupt"


def test_the_repair_of_an_array_cache_works(alexnet):
    path = cache_folder() / "with space" / "array.npy"
    path.parent.mkdir(parents=True)
    np.save(path, np.arange(3))
    broken = alexnet("data", "verify")
    assert broken.returncode == 1
    command = broken.stderr.partition("hint: ")[2].strip()
    subprocess.run(shlex.split(command), check=True)
    assert alexnet("data", "verify").returncode == 0


@pytest.mark.parametrize("extra", [(), ("--augmented", "--crop_size", "24"), ("--split", "val")])
def test_a_sheet_of_a_small_folder(photos, succeed, extra):
    result = succeed("data", "show", "--data", photos.name, *extra)
    path = Path(result.stdout.strip())
    assert path.name.startswith("photos-")
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert min(image.size) > 90


def test_settings_come_from_the_configuration_of_a_run(photos, succeed):
    settings = ('data = "photos"', "crop_size = 16", "colour_noise = 0.0", "val_size = 2")
    Path("run.toml").write_text("\n".join(settings))
    flags = ("--data", "photos", "--crop-size", "16", "--val-size", "2")
    sheets = []
    for given in (
        ("--config", "run.toml"),
        (*flags, "--colour-noise", "0"),
        (*flags, "--seed", "1"),
    ):
        succeed("data", "show", "--augmented", "--count", "2", "-o", "sheet.png", *given)
        sheets.append(Path("sheet.png").read_bytes())
    assert sheets[0] == sheets[1] != sheets[2]


def test_json_and_classes(photos, json_of):
    classes = ("--class", "ant", "--class", "cat")
    assert json_of("data", "show", "--data", "photos", *classes, "--count", "3") == {
        "path": "photos-train.png", "data": str(photos), "split": "train", "augmented": False,
        "num_images": 6,
    }  # fmt: skip
