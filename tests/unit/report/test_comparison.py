import dataclasses

from alexnet_cli.report.views import Setting, compare


def other(examined, **settings):
    """Return the same run with other settings."""
    best = examined.record.best
    best = dataclasses.replace(best, config={**best.config, **settings})
    record = dataclasses.replace(examined.record, best=best)
    return dataclasses.replace(examined, key="run-B", label="B", record=record)


def test_only_what_differs_is_named(examined):
    second = other(examined, learning_rate=0.5, only_there=True)
    comparison = compare([examined, second])
    assert comparison.settings == [
        Setting("learning_rate", ["0.01", "0.5"]), Setting("only_there", ["–", "True"])
    ]  # fmt: skip
    assert comparison.environment == []
    assert comparison.have_same_images
    assert [row.label for row in comparison.rows] == ["A", "B"]
    assert len(comparison.curves) == 3
