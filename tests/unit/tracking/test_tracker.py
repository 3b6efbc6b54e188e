import importlib.util
import subprocess
import sys

import pytest

from alexnet_cli.errors import UsageError
from alexnet_cli.tracking.tracker import TrackerName, remembered, require_package

ABSENT = [name for name in TrackerName if importlib.util.find_spec(name) is None]


@pytest.mark.skipif(not ABSENT, reason="all trackers are installed")
def test_a_tracker_that_is_not_installed_is_told_before_a_run_is_begun(tmp_path):
    with pytest.raises(UsageError) as caught:
        require_package(ABSENT[0])
    assert caught.value.hint == f"pip install {ABSENT[0]}"
    command = [sys.executable, "-m", "alexnet_cli", "train", "--data", "shapes"]
    told = subprocess.run(
        [*command, f"--{ABSENT[0]}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert told.returncode == 2
    assert f"needs the package {ABSENT[0]}" in told.stderr
    assert not (tmp_path / "runs").exists()


def test_a_name_is_made_once(tmp_path):
    path = tmp_path / "id"
    assert remembered(path, lambda: "first") == remembered(path, lambda: "second") == "first"
