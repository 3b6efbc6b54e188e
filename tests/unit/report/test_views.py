import dataclasses

from alexnet_cli.report.views import commands, compare_runs, headline


def other(examined, **settings):
    """Return the same run with other settings."""
    best = examined.record.best
    best = dataclasses.replace(best, config={**best.config, **settings})
    record = dataclasses.replace(examined.record, best=best)
    return dataclasses.replace(examined, key="run-B", label="B", record=record)


def test_a_comparison_names_the_settings_that_differ(examined):
    comparison = compare_runs([examined, other(examined, learning_rate=0.5, only_there=True)])
    assert comparison.settings == [
        ("learning_rate", ["0.01", "0.5"]), ("only_there", ["–", "True"])
    ]  # fmt: skip
    assert comparison.environment == []
    assert comparison.have_same_images
    assert [run.label for run, _ in comparison.rows] == ["A", "B"]
    assert len(comparison.curves) == 3


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
    assert facts["data"].endswith(": 44 training images, 4 classes")
    assert facts["time"] == "0:05"
    assert facts["speed"] == "1,100 images/s in the last epoch"
