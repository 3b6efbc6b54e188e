import pytest

wandb = pytest.importorskip("wandb")

from alexnet_cli.errors import UsageError  # noqa: E402

from .conftest import ROWS  # noqa: E402


@pytest.fixture(autouse=True)
def afresh():
    """Let each test have settings of its own: the package keeps its first ones."""
    yield
    wandb.teardown()


def test_a_run_and_its_resumption_have_one_id_and_stay_here(job, track, monkeypatch):
    from alexnet_cli.tracking.wandb import open_run

    monkeypatch.setenv("WANDB_MODE", "offline")
    assert track(open_run(job.run, first_epoch=0)) == []
    assert track(open_run(job.run, first_epoch=2), done=2, rows=ROWS[2:]) == []
    identity = (job.run.path / "wandb-id").read_text()
    kept = list((job.run.path / "wandb").glob("offline-run-*"))
    assert {folder.name.rpartition("-")[2] for folder in kept} == {identity}
    assert not list((job.run.path / "wandb").rglob("requirements.txt"))


def test_nobody_logged_in_is_told_before_training(job, monkeypatch, tmp_path):
    from alexnet_cli.tracking.wandb import open_run

    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(UsageError, match="--wandb cannot begin") as caught:
        open_run(job.run, first_epoch=0)
    assert "wandb login" in caught.value.hint
