import importlib.util

import pytest

from alexnet_cli.errors import UsageError
from alexnet_cli.tracking.tracker import TrackerName, remembered, require_package

ABSENT = [name for name in TrackerName if importlib.util.find_spec(name) is None]


@pytest.mark.skipif(not ABSENT, reason="all trackers are installed")
def test_a_tracker_that_is_not_installed_is_told_before_a_run_is_begun(alexnet, isolated):
    with pytest.raises(UsageError) as caught:
        require_package(ABSENT[0])
    assert caught.value.hint == f"pip install {ABSENT[0]}"
    told = alexnet("train", "--data", "shapes", f"--{ABSENT[0]}")
    assert told.returncode == 2
    assert f"needs the package {ABSENT[0]}" in told.stderr
    assert not (isolated / "runs").exists()


def test_a_name_is_made_once(tmp_path):
    path = tmp_path / "id"
    assert remembered(path, lambda: "first") == remembered(path, lambda: "second") == "first"
