import pytest

from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.paper.runner import epochs_to_train_error, read_metrics
from alexnet_cli.run_folder import RunFolder
from alexnet_cli.training.checkpoint import EpochRow
from alexnet_cli.training.run_files import write_metrics


def history(*errors):
    return tuple(
        EpochRow(number, 0.01, 1.0, 1 - error, 1.5, 0.5, 10.0, 1.0, 100.0)
        for number, error in enumerate(errors, start=1)
    )


@pytest.mark.parametrize(
    ("errors", "epochs"),
    [
        ((0.5, 0.3, 0.2), 2.0),  # half way between the middles of epochs 2 and 3
        ((0.5, 0.25), 1.5),
        ((0.25,), 0.5),
        ((0.1,), 0.5 * 65 / 80),  # from chance, 90 %, at the start
        ((0.3, 0.2, 0.3, 0.1), 1.0),  # the first time counts
        ((0.5, 0.26), None),
        ((), None),
    ],
)
def test_the_epoch_of_25_percent_is_interpolated(errors, epochs):
    assert epochs_to_train_error(history(*errors)) == pytest.approx(epochs)


def test_the_metrics_are_those_that_training_wrote(tmp_path):
    run = RunFolder(tmp_path)
    assert read_metrics(run.metrics_csv) == ()
    rows = history(0.5, 0.4)
    write_metrics(run, TrainConfig(), rows)
    assert read_metrics(run.metrics_csv) == rows
