import numpy as np
import pytest

from alexnet_cli.evaluation.metrics import calibration, class_metrics
from alexnet_cli.report.drawing import save_png, style
from alexnet_cli.report.plots import Confusion, calibration_figure, class_figure, confusion_figure


@pytest.mark.parametrize("num_classes", [2, 30, 150])
def test_any_number_of_classes_makes_a_png(num_classes):
    counts = np.random.default_rng(0).integers(0, 9, (num_classes, num_classes))
    labels = np.repeat(np.arange(num_classes), counts.sum(axis=1))
    names = tuple(f"${number}" for number in range(num_classes))
    with style():
        matrix = confusion_figure(Confusion(names, counts))
        bars, words = class_figure(class_metrics(counts, labels, names))
        for figure in (matrix, bars):
            assert save_png(figure).startswith(b"\x89PNG")
            assert max(figure.get_size_inches()) < 20
    assert f"of {min(30, num_classes)} classes" in words


def test_cells_hold_their_counts():
    with style():
        figure = confusion_figure(Confusion(("a", "b"), np.array([[1234, 0], [5, 6]])))
    assert [text.get_text() for text in figure.axes[0].texts] == ["1,234", "5", "6"]


def test_the_reliability_diagram_shows_what_calibration_found():
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.45, 0.55]])
    found = calibration(probabilities, np.array([0, 1, 1, 0]))
    with style():
        figure, words = calibration_figure(found)
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights == [each.share_right for each in found.bins if each.num_images]
    assert words == f"Reliability diagram: expected calibration error {found.expected_error:.1%}"
