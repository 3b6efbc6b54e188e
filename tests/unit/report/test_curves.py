from alexnet_cli.report.drawing import draw, save_png, style
from alexnet_cli.report.plots import best_of, compared_panels, curve_panels, metrics_figure
from alexnet_cli.training.checkpoint import EpochRow


def rows(*top1):
    return tuple(
        EpochRow(n, 0.01 / 10 ** (n // 2), 2.0 / n, 0.3, 2.1 / n, share, 1.0, 0.2, 100.0 * n)
        for n, share in enumerate(top1, start=1)
    )


def test_the_first_of_equals_is_the_best():
    assert best_of(rows(0.2, 0.5, 0.5)).epoch == 2


def test_words_have_the_numbers():
    with style():
        words = {name: draw(panel)[1] for name, panel in curve_panels(rows(0.2, 0.5, 0.4)).items()}
    assert "validation 20.0% in the first epoch and 40.0% in the last" in words["top1"]
    assert "50.0% in the best epoch, 2" in words["top1"]
    assert "validation 2.100 in the first" in words["loss"]
    assert words["rate"] == "learning rate of 3 epochs: between 0.001 and 0.01"
    assert words["speed"] == "images/s of 3 epochs: between 100 and 300"


def test_one_epoch_and_hundreds_are_drawn_without_complaint():
    with style():
        for history in (rows(0.3), rows(*(n / 400 for n in range(300)))):
            assert save_png(metrics_figure(history)).startswith(b"\x89PNG")


def test_lines_of_several_runs_differ_in_more_than_colour():
    histories = {"A": rows(0.1, 0.2), "B": rows(0.3), "C": rows(0.4, 0.1)}
    with style():
        figure, words = draw(compared_panels(histories)["top1"])
    lines = figure.axes[0].lines
    assert len({line.get_linestyle() for line in lines}) == 3
    assert len({line.get_marker() for line in lines}) == 3
    assert "run B ends at 30.0% after 1 epochs" in words


def test_a_rate_that_falls_has_plain_numbers_beside_it():
    with style():
        figure, _ = draw(curve_panels(rows(0.2, 0.5, 0.4, 0.4))["rate"])
        save_png(figure)
    axis = figure.axes[0].yaxis
    assert {text.get_text() for text in axis.get_majorticklabels()} >= {"0.0001", "0.001", "0.01"}
    assert not any("$" in text.get_text() for text in axis.get_ticklabels(which="both"))
