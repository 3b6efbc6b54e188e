import pytest

from alexnet_cli.models.alexnet import AlexNet
from alexnet_cli.models.departures import network_departures, training_departures
from alexnet_cli.models.lrn import LocalResponseNorm
from alexnet_cli.networks import Activation, Kernels, Network, Pool, network_spec


@pytest.mark.parametrize(
    ("options", "paper", "here"),
    [
        ({"activation": Activation.TANH}, "ReLUs", "tanh"),
        ({"lrn": False}, "local response", "none"),
        ({"pool": Pool.PLAIN}, "overlapping", "2×2"),
        ({"groups": 1}, "two towers", "one tower"),
        ({"kernels": Kernels.HALF}, "half as many in conv1", "half as many"),
    ],
)
def test_an_option_other_than_the_papers_is_a_departure(options, paper, here):
    own, chosen = (
        network_departures(network_spec(Network.ALEXNET, num_classes=10, crop_size_px=224,
                                        options=each))
        for each in ({"groups": 2, "lrn": True}, options)
    )  # fmt: skip
    added = [each for each in chosen if each not in own]
    assert len(added) == 1
    assert paper in added[0].paper
    assert here in added[0].here
    assert str(added[0]).startswith("Paper: ")


def test_departures_are_of_the_network_and_of_its_layers():
    def papers(name, crop_size_px, **options):
        spec = network_spec(name, num_classes=10, crop_size_px=crop_size_px, options=options)
        return {each.paper for each in network_departures(spec)}

    lrn = {each.paper for each in LocalResponseNorm.departures}
    assert papers(Network.ALEXNET, 224) == lrn | {each.paper for each in AlexNet.departures}
    assert not papers(Network.ALEXNET_CIFAR_BN, 28) & lrn
    assert not papers(Network.CUDA_CONVNET_18PCT, 32) & lrn  # it has another normalisation
    convnet = papers(Network.CUDA_CONVNET_13PCT, 24)
    assert papers(Network.CUDA_CONVNET_13PCT, 24, lrn=True) == convnet | lrn


@pytest.mark.parametrize(
    ("name", "sections", "own"),
    [
        (Network.ALEXNET, ("§2", "§4.1", "§5"), None),
        (Network.ALEXNET_OWT, ("§2", "§4.1", "§5"), "first update"),
        (Network.ALEXNET_CIFAR, ("§2", "§4.1", "§5"), "biases of 1, one learning rate"),
        (Network.CUDA_CONVNET_80SEC, ("§2", "§5"), "batch 5 held out"),
        (Network.CUDA_CONVNET_11PCT, ("§2", "§4.1", "§5"), "batch 5 held out"),
    ],
    ids=str,
)
def test_departures_of_the_training(name, sections, own):
    departures = training_departures(name)
    text = "".join(each.paper for each in departures)
    assert tuple(each for each in ("§2", "§4.1", "§5") if each in text) == sections
    assert ("conv4, conv5 and the hidden" in text) == name.info.has_dropout
    assert [each for each in departures if own and own in each.paper] == list(
        name.info.training_departures
    )
