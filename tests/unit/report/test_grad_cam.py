import numpy as np
import pytest
import torch
import torch.nn.functional as F

from alexnet_cli.manifest import InputSpec
from alexnet_cli.models.build import PixelNetwork, build_network
from alexnet_cli.networks import Network, NetworkSpec
from alexnet_cli.report.grad_cam import evidence_maps, find_evidence
from tests.made_runs import draw_tinted

CPU = torch.device("cpu")
SIDES = {Network.ALEXNET: 67, Network.ALEXNET_OWT: 67}
PATCH = 6


def build(name, side, **options):
    info = name.info
    spec = NetworkSpec(name, 10, side, 0.0, lrn=info.lrn, groups=info.groups, **options)
    pixels = PixelNetwork(build_network(spec), InputSpec(side, side, (1 / 64,) * 3, (-2.0,) * 3))
    return pixels.eval()


def draw_crops(count, side):
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", Network)
def test_maps_of_each_network_are_shares_and_do_not_influence_each_other(name):
    side = SIDES.get(name, 16)
    network, crops, classes = build(name, side), draw_crops(3, side), np.array([7, 0, 7])
    maps = evidence_maps(network, crops, classes, device=CPU)
    assert maps.shape == (3, side, side)
    assert maps.min() >= 0
    highest = maps.max(axis=(1, 2))
    assert (np.isclose(highest, 1) | (highest == 0)).all()  # 0: all speaks against the class
    assert highest.any()
    alone = evidence_maps(network, crops[1:2], classes[1:2], device=CPU)
    np.testing.assert_allclose(alone[0], maps[1], rtol=0, atol=1e-3)
    assert all(each.grad is None for each in network.parameters())


def test_a_picture_is_bright_where_the_evidence_is(monkeypatch):
    place = np.zeros((2, 9, 9), np.float32)
    place[0, 1, 7] = 1
    monkeypatch.setattr("alexnet_cli.report.grad_cam.evidence_maps", lambda *_, **__: place)
    grey = np.full((2, 9, 9, 3), 100, np.uint8)
    found = find_evidence(None, grey, np.zeros(2, np.int64), device=CPU)
    assert [each.place for each in found] == ["top right", ""]
    brightness = found[0].picture_SS3.mean(axis=-1)
    assert np.argwhere(brightness > 100).tolist() == [[1, 7]]


def draw_in_quarters(count, *, seed):
    """Draw small shapes, each in a quarter of a grey crop of 16 px."""
    shapes, labels = draw_tinted(count, seed=seed)
    draw = np.random.default_rng(seed)
    crops = draw.integers(118, 138, (count, 16, 16, 3), dtype=np.uint8)
    quarters = draw.integers(0, 2, (count, 2))
    small = shapes.reshape(count, 8, 4, 8, 4, 3).mean(axis=(2, 4))
    for crop, shape, (down, right) in zip(crops, small, 8 * quarters, strict=True):
        crop[down : down + 8, right : right + 8] = shape
    return crops, labels, quarters


def train(name):
    crops, labels, _ = draw_in_quarters(500, seed=1)
    network = build(name, 16)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for step in range(60):
        batch = slice(50 * (step % 10), 50 * (step % 10) + 50)
        logits = network(torch.from_numpy(crops[batch]))
        loss = F.cross_entropy(logits, torch.from_numpy(labels[batch]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


def occlude(network, crops, classes):
    """Return how much the logit falls under grey patches over each place."""

    @torch.inference_mode()
    def logits(images):
        return network(torch.from_numpy(images)).numpy()[np.arange(len(images)), classes]

    drops, before = np.zeros(crops.shape[:3]), logits(crops)
    for top in range(0, 16 - PATCH + 1, 2):
        for left in range(0, 16 - PATCH + 1, 2):
            patch = np.s_[:, top : top + PATCH, left : left + PATCH]
            occluded = crops.copy()
            occluded[patch] = 128
            drops[patch] += (before - logits(occluded))[:, None, None]
    return drops


@pytest.mark.parametrize(
    "name",
    [Network.CUDA_CONVNET_19PCT, pytest.param(Network.CUDA_CONVNET_13PCT, marks=pytest.mark.slow)],
)
def test_evidence_lies_on_the_shape_and_agrees_with_occlusion(name):
    network = train(name)
    crops, labels, quarters = draw_in_quarters(40, seed=2)
    with torch.inference_mode():
        classes = network(torch.from_numpy(crops)).numpy().argmax(axis=1)
    assert (classes == labels).mean() > 0.8
    maps = evidence_maps(network, crops, classes, device=CPU)
    drops = occlude(network, crops, classes)

    def agreement(maps):
        pairs = zip(maps, drops, strict=True)
        return np.mean([np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in pairs])

    shares_N4 = maps.reshape(-1, 2, 8, 2, 8).sum(axis=(2, 4)).reshape(-1, 4)
    assert agreement(maps) > 0.5
    assert agreement(np.roll(maps, 1, axis=0)) < 0.4  # those of other images
    assert (shares_N4.argmax(axis=1) == quarters @ [2, 1]).mean() > 0.8
