import numpy as np
import pytest
from matplotlib.figure import Figure

from alexnet_cli.evaluation.metrics import calibration, class_metrics
from alexnet_cli.models.build import build_network, first_filters, to_unit_range
from alexnet_cli.networks import Network, NetworkSpec
from alexnet_cli.report import plots
from alexnet_cli.report.drawing import draw, label_epochs, save_png, style
from alexnet_cli.training.checkpoint import EpochRow


def history(*top1):
    return tuple(
        EpochRow(n, 0.01 / 10 ** (n // 2), 2.0 / n, 0.3, 2.1 / n, share, 1.0, 0.2, 100.0 * n)
        for n, share in enumerate(top1, start=1)
    )


@pytest.fixture(autouse=True)
def _style():
    with style():
        yield


def test_the_first_of_equals_is_the_best():
    assert plots.best_epoch(history(0.2, 0.5, 0.5)).epoch == 2


def test_a_narrow_axis_of_shares_has_a_label_of_its_own_at_each_tick():
    figure = Figure()
    axes = figure.subplots()
    axes.set_ylim(0.98, 0.99)
    label_epochs(axes, "top-1", percent=True)
    figure.draw_without_rendering()
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert len(labels) > 3
    assert len(set(labels)) == len(labels)


def test_descriptions_have_the_numbers():
    panels = plots.curve_panels(history(0.2, 0.5, 0.4))
    texts = {name: draw(panel)[1] for name, panel in panels.items()}
    assert "validation 20.0% in epoch 1, 40.0% in epoch 3" in texts["top1"]
    assert "best, epoch 2: 50.0%" in texts["top1"]
    assert "validation 2.1 in epoch 1" in texts["loss"]
    assert texts["lr"] == "learning rate 0.01 in epoch 1, 0.001 in epoch 3"
    assert texts["speed"] == "images/s 100 in epoch 1, 300 in epoch 3"


@pytest.mark.parametrize("rows", [history(0.3), history(*(n / 400 for n in range(300)))])
def test_one_epoch_and_hundreds_make_a_png(rows):
    assert save_png(plots.metrics_figure(rows)).startswith(b"\x89PNG")


def test_curves_of_several_runs_differ_in_more_than_colour():
    histories = {"A": history(0.1, 0.2), "B": history(0.3), "C": history(0.4, 0.1)}
    figure, text = draw(plots.comparison_panels(histories)["top1"])
    lines = figure.axes[0].lines
    assert len({line.get_linestyle() for line in lines}) == 3
    assert len({line.get_marker() for line in lines}) == 3
    assert [label.get_text() for label in figure.axes[0].texts] == ["A", "B", "C"]
    assert "run C 40.0% in epoch 1, 10.0% in epoch 2" in text


def test_a_falling_learning_rate_has_plain_numbers_on_its_axis():
    figure, _ = draw(plots.curve_panels(history(0.2, 0.5, 0.4, 0.4))["lr"])
    save_png(figure)
    axis = figure.axes[0].yaxis
    assert {text.get_text() for text in axis.get_majorticklabels()} >= {"0.0001", "0.001", "0.01"}
    assert not any("$" in text.get_text() for text in axis.get_ticklabels(which="both"))


def test_the_most_confused_pairs_are_those_of_a_plain_loop():
    counts = np.random.default_rng(0).integers(0, 4, (9, 9))
    every = [(-counts[t, p], t, p) for t in range(9) for p in range(9) if t != p and counts[t, p]]
    assert plots.most_confused(counts) == [(t, p) for _, t, p in sorted(every)][:40]


def test_shades_go_from_nothing_to_all_of_a_row():
    counts = np.array([[8, 2, 0], [0, 5, 0], [1, 3, 0]])
    expected = [[9, 5, 0], [0, 10, 0], [5, 9, 0]]  # of √0.8, √0.2, √0.25, √0.75
    assert plots.shades(counts).tolist() == expected
    assert plots.shades(np.zeros((2, 2), np.int64)).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("num_classes", [2, 30, 150])
def test_any_number_of_classes_makes_a_png(num_classes):
    counts = np.random.default_rng(0).integers(0, 9, (num_classes, num_classes))
    labels = np.repeat(np.arange(num_classes), counts.sum(axis=1))
    names = tuple(f"${number}" for number in range(num_classes))
    bars, text = plots.class_figure(class_metrics(counts, labels, names))
    for figure in (plots.confusion_figure(names, counts), bars):
        assert save_png(figure).startswith(b"\x89PNG")
        assert max(figure.get_size_inches()) < 20
    assert f"of {min(30, num_classes)} classes" in text


def test_cells_have_their_counts():
    figure = plots.confusion_figure(("a", "b"), np.array([[1234, 0], [5, 6]]))
    assert [text.get_text() for text in figure.axes[0].texts] == ["1,234", "5", "6"]


def test_the_reliability_diagram_shows_the_accuracy_of_each_bin():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.45, 0.55]])
    found = calibration(probabilities, np.array([0, 1, 1, 0]))
    figure, text = plots.calibration_figure(found)
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights == [each.share_right for each in found.bins if each.num_images]
    assert text == f"Reliability diagram: expected calibration error {found.expected_error:.1%}"


def test_filters_are_in_rows_with_gaps():
    network = build_network(NetworkSpec(Network.CUDA_CONVNET_80SEC, 10, 8, lrn=False, groups=1))
    filters = first_filters(network)
    figure, text = plots.filters_figure(filters)
    picture = figure.axes[0].images[0].get_array()
    np.testing.assert_array_equal(picture[6:11, 12:17, :3], to_unit_range(filters)[16 + 2])
    assert (picture[5, :, 3] == 0).all()
    assert "in 2 rows of 16" in text
