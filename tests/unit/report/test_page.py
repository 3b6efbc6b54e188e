import base64
import dataclasses
import hashlib
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from alexnet_cli.errors import AlexnetError
from alexnet_cli.paper.experiments import EXPERIMENTS, find_experiment
from alexnet_cli.report import page
from alexnet_cli.report.examine import examine_run, read_run
from alexnet_cli.report.page import MAX_BYTES, MAX_RUNS, render, view_experiment
from tests.made_results import finished, result_of

CPU = torch.device("cpu")
_VOID = {"meta", "img", "link", "br", "input"}


class Page(HTMLParser):
    """Elements, ids and what they refer to; refuses tags that are closed in another order."""

    def __init__(self, content):
        super().__init__()
        self.elements, self.open, self.texts = [], [], []
        self.feed(content.decode())
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len(attrs) == len(dict(attrs))
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self):
        return " ".join("".join(self.texts).split())

    def values(self, key):
        return [attributes[key] for _, attributes in self.elements if key in attributes]


@pytest.fixture(scope="module")
def content(examined):
    return render([examined])


@pytest.fixture(scope="module")
def parsed(content):
    return Page(content)


@pytest.fixture(scope="module")
def noisy(make_images, make_run):
    """A run whose pictures are as large as pictures can be, and as many."""
    folder = make_images([f"{'n' * 60}{number:02}" for number in range(30)], per_class=32, side=96)
    run = make_run(folder, val_size=900, image_size=96)
    return examine_run(read_run(run), device=CPU)


def test_hostile_names_are_text(parsed):
    assert parsed.of("script") == []
    headers = [text for text in parsed.texts if text in ("<script>alert(1)<", "bär & 'ß'", "犬")]
    assert len(set(headers)) == 3
    assert not any(key.startswith("on") for _, attrs in parsed.elements for key in attrs)


def test_nothing_is_loaded_and_the_policy_forbids_it(parsed, content):
    policy = next(each["content"] for each in parsed.of("meta") if "http-equiv" in each)
    style = re.search(rb"<style>(.*?)</style>", content, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(style).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'"
    )
    assert parsed.values("style") == []
    assert all(each["src"].startswith("data:image/") for each in parsed.of("img"))
    assert all(link.startswith(("#", "data:image/png")) for link in parsed.values("href"))
    assert b"url(http" not in content
    assert b"@import" not in style


def test_every_reference_has_its_element_once(parsed):
    ids = parsed.values("id")
    assert len(ids) == len(set(ids))
    wanted = [link[1:] for link in parsed.values("href") if link.startswith("#")]
    wanted += [*parsed.values("popovertarget"), *parsed.values("aria-labelledby")]
    assert set(wanted) <= set(ids)
    assert set(parsed.values("popovertarget")) == {
        attributes["id"] for _, attributes in parsed.elements if "popover" in attributes
    }


def test_pictures_and_figures_have_descriptions(parsed):
    assert all(each["alt"] for each in parsed.of("img"))
    figures = [each for each in parsed.of("svg") if each.get("role") == "img"]
    assert len(figures) == 7  # four curves, classes, calibration, filters
    assert all(each["aria-label"] for each in figures)


def test_mistakes_and_examples_have_their_evidence_beside_them(parsed, examined):
    maps = [each for each in parsed.of("img") if each["alt"].startswith("evidence for ")]
    num_wrong = 20 - examined.examination.counts_KK.trace()
    assert len(maps) == num_wrong + 8
    assert parsed.text.count("Grad-CAM") == 1
    alone = parsed.of("img")[parsed.of("img").index(maps[0]) - 1]
    assert alone["alt"].endswith(".png")


def test_the_headline_has_the_result_and_its_interval(parsed, examined):
    summary = examined.examination.summary
    low, high = summary.top1_interval
    for fact in (
        f"{summary.top1:.2%} (95 %: {low:.2%} to {high:.2%}) of 20 images",
        "networkcuda-convnet-80sec, 83,748 parameters",
        ": 44 training images, 4 classes",
        "epochs3 best epoch2, 37.50% during training (float32)",
        "time0:05 speed1,100 images/s in the last epoch",
        "The test set was not used",
    ):
        assert fact in parsed.text


def test_commands_are_those_of_the_run(examined):
    run = examined.record.run
    record = dataclasses.replace(examined.record, command="alexnet train 'a b'")
    texts = Page(render([dataclasses.replace(examined, record=record)])).texts
    commands = [text for text in texts if text.startswith("alexnet ")]
    assert commands[-5:-1] == [  # the last is in the footer; without the maker's folders
        "alexnet train 'a b'",
        f"alexnet train --config {run.path.name}/config.toml",
        f"alexnet evaluate {run.path.name} --split val",
        f"alexnet report {run.path.name}",
    ]


def test_runs_side_by_side(examined, make_run, make_images):
    other = make_run(make_images(("x", "y"), per_class=16), name="two", learning_rate=0.5)
    second = examine_run(read_run(other), device=CPU)
    together = Page(render([examined, second]))
    assert "Different validation images" in together.text
    assert "Comparison of 2 runs" in together.text
    words = [each for each in together.texts if each.strip()]
    place = words.index("learning_rate")
    assert words[place + 1 : place + 3] == ["0.01", "0.5"]
    ids = together.values("id")
    assert len(ids) == len(set(ids))
    assert {"run-A", "run-B"} <= set(ids)


@pytest.mark.parametrize(("num_classes", "per_class"), [(2, 40), (150, 3)])
def test_any_number_of_classes_stays_small(make_images, make_run, num_classes, per_class):
    names = [f"{'long name ' * 20}{number:03}" for number in range(num_classes)]
    folder = make_images(names, per_class=per_class)
    run = make_run(folder, val_size=num_classes * per_class - num_classes)
    content = render([examine_run(read_run(run), device=CPU)])
    assert len(content) < MAX_BYTES
    is_large = "A table of 150 classes would be too large" in Page(content).text
    assert is_large == (num_classes == 150)


@pytest.mark.slow
@pytest.mark.parametrize("num_runs", [2, MAX_RUNS])
def test_a_page_of_noise_stays_small(noisy, num_runs):
    content = render([noisy] * num_runs)
    assert 330_000 * num_runs < len(content) < MAX_BYTES
    text = Page(content).text
    assert ("Pictures are at most 48 px wide" in text) == (num_runs == MAX_RUNS)
    assert "Settings that differ: none." in text
    assert "Different validation images" not in text


def test_a_page_that_is_too_large_is_an_error(examined, monkeypatch):
    monkeypatch.setattr(page, "MAX_BYTES", 1_000)
    with pytest.raises(AlexnetError, match="more than 1,000"):
        render([examined])


def test_a_network_without_mistakes(examined):
    perfect = np.eye(4)[examined.val.labels_N]
    flawless = dataclasses.replace(examined.examination, probabilities_NK=perfect)
    page = Page(render([dataclasses.replace(examined, examination=flawless)]))
    assert "all validation images are classified correctly" in page.text


LOG = tuple((float(e), 0.01, 1.0, 0.3 + 0.1 * e, 1.5, 0.5, 10.0, 1.0) for e in range(1, 6))


def trained(name, *, num_seeds=3):
    experiment = find_experiment(name)
    runs = tuple(
        finished(arm, seed, epochs=4.5, error=0.1 + seed / 100, views=views, log=LOG)
        for arm in experiment.arms for seed in range(1, num_seeds + 1)
        for views in [next(q.measure.num_views for q in experiment.quantities if q.arm == arm) or 1]
    )  # fmt: skip
    return result_of(name, runs, num_seeds=num_seeds)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_each_experiment_has_a_section_with_plot_claims_and_runs(name):
    result, experiment = trained(name), find_experiment(name)
    page = Page(render([], [result]))
    assert experiment.title in page.texts
    assert all(claim.text in page.texts for claim in experiment.claims)
    (figure,) = [each for each in page.of("svg") if each.get("role") == "img"]
    assert len(figure["aria-label"]) > 30
    assert page.texts.count(f"alexnet reproduce {name} --seeds 3") == 1


@pytest.mark.parametrize(("name", "has_tests"), [("relu", False), ("lrn", True)])
def test_use_of_the_test_set_is_stated(name, has_tests):
    page = Page(render([], [trained(name)]))
    assert ("test set" in page.texts) == has_tests


def test_a_result_without_runs_has_a_page():
    page = Page(render([], [result_of(name) for name in EXPERIMENTS]))
    assert page.text.count("No run that counts has finished yet") == len(EXPERIMENTS)


def test_figure_1_has_a_description():
    assert (
        'aria-label="training error by epoch, 25 % marked: relu reaches it after 4.5, 4.5, 4.5 '
        'epochs; tanh reaches it after 4.5, 4.5, 4.5 epochs"'
    ) in view_experiment(trained("relu"), 0)["figure"]


def test_published_errors_are_in_the_plot():
    figure = view_experiment(trained("ladder"), 0)["figure"]
    assert "80sec 11.0%, 12.0%, 13.0%, published 26.0%" in figure
    assert "19pct with crops, 10 views" in figure
    assert "published 14.2%" in figure


def test_a_run_and_experiments_stand_in_one_page(examined):
    page = Page(render([examined], [trained(name) for name in EXPERIMENTS]))
    ids = page.values("id")
    assert len(set(ids)) == len(ids)
    assert f"experiment-{len(EXPERIMENTS) - 1}" in ids
    assert "run-A-name" in ids


def test_one_seed_is_enough_to_be_shown():
    claims = view_experiment(trained("cifar90", num_seeds=1), 0)["claims"]
    assert claims[0][-1] == "not decided"
    assert claims[0][3] == "–"
