import dataclasses

import pytest

from alexnet_cli.report.views import commands, duration, headline


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(4.94, "4.9 s"), (120, "2 min"), (7_000, "117 min"), (9_000, "2 h 30 min")],
)
def test_duration(seconds, words):
    assert duration(seconds) == words


def test_commands_are_those_of_the_run(examined):
    path = examined.record.run.path
    assert commands(examined.record) == [
        "alexnet train",
        f"alexnet train --config {path}/config.toml",
        f"alexnet evaluate {path} --split val",
        f"alexnet report {path}",
    ]
    alone = dataclasses.replace(examined.record, environment={})
    assert commands(alone) == commands(examined.record)[1:]


def test_the_headline_counts(examined):
    facts = dict(headline(examined))
    assert facts["epochs"] == "3"
    assert facts["network"] == "cuda-convnet-80sec, 83,748 parameters"
    assert facts["data"].endswith(": 44 images to train on, 4 classes")
    assert facts["speed"] == "1,100 images/s in the last epoch"
