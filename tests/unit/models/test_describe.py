import pytest

from alexnet_cli.models.alexnet import AlexNet
from alexnet_cli.models.build import outline_network
from alexnet_cli.models.describe import layer_table, network_departures, training_departures
from alexnet_cli.models.lrn import LocalResponseNorm
from alexnet_cli.networks import Activation, Kernels, Network, Pool, network_spec


def table(name, num_classes=10, crop_size_px=0, **options):
    size = crop_size_px or name.info.own_crop_px()
    return layer_table(
        network_spec(name, num_classes=num_classes, crop_size_px=size, options=options)
    )


PAPERS_TABLE = [  # name, output, k/s/p/groups, parameters, MACs in millions
    ("conv1", (96, 55, 55), (11, 4, 0, 1), 34_944, 105.4),
    ("conv2", (256, 27, 27), (5, 1, 2, 2), 307_456, 223.9),
    ("conv3", (384, 13, 13), (3, 1, 1, 1), 885_120, 149.5),
    ("conv4", (384, 13, 13), (3, 1, 1, 2), 663_936, 112.1),
    ("conv5", (256, 13, 13), (3, 1, 1, 2), 442_624, 74.8),
    ("fc6", (4096,), (None,) * 4, 37_752_832, 37.7),
    ("fc7", (4096,), (None,) * 4, 16_781_312, 16.8),
    ("fc8", (1000,), (None,) * 4, 4_097_000, 4.1),
]


@pytest.mark.parametrize("crop_size_px", [224, 227])
def test_alexnet_is_the_papers_table(crop_size_px):
    rows = [r for r in table(Network.ALEXNET, 1000, crop_size_px) if r.num_macs]
    found = [
        (r.name, r.output_shape, (r.kernel, r.stride, r.padding, r.groups), r.num_parameters,
         round(r.num_macs / 1e6, 1))
        for r in rows
    ]  # fmt: skip
    assert found == PAPERS_TABLE


@pytest.mark.parametrize(
    ("name", "num_classes", "crop_size_px", "options", "parameters", "millions"),
    [
        (Network.ALEXNET, 1000, 227, {}, 60_965_224, 724.4),
        (Network.ALEXNET, 1000, 227, {"groups": 1}, 62_378_344, 1135.3),
        # By hand 17,472 + 153,728 + 221,376 + 331,968 + 442,624, and the same fc layers.
        (Network.ALEXNET, 1000, 227, {"groups": 1, "kernels": Kernels.HALF}, 59_798_312, 391.5),
        (Network.ALEXNET, 10, 224, {}, 56_909_194, 720.4),
        (Network.ALEXNET_OWT, 1000, 224, {}, 61_100_840, 714.2),
        (Network.ALEXNET_CIFAR, 10, 32, {}, 7_561_610, 218.7),
        (Network.ALEXNET_CIFAR, 10, 24, {}, 5_726_602, 123.5),
        (Network.ALEXNET_CIFAR_BN, 10, 24, {}, 5_730_026, 123.5),
        (Network.CUDA_CONVNET_80SEC, 10, 32, {}, 145_578, 12.4),
        (Network.CUDA_CONVNET_19PCT, 10, 32, {}, 89_578, 12.3),
        (Network.CUDA_CONVNET_18PCT, 10, 32, {}, 89_578, 12.3),
        (Network.CUDA_CONVNET_13PCT, 10, 24, {}, 1_116_490, 18.5),
        (Network.CUDA_CONVNET_11PCT, 10, 24, {}, 2_112_970, 19.5),
    ],
)
def test_parameters_and_macs_of_every_network(
    name, num_classes, crop_size_px, options, parameters, millions
):
    rows = table(name, num_classes, crop_size_px, **options)
    assert sum(row.num_parameters for row in rows) == parameters
    assert round(sum(row.num_macs for row in rows) / 1e6, 1) == millions


def test_receptive_fields_are_counted_by_hand():
    rows = table(Network.ALEXNET_CIFAR, 10, 32)
    fields = {row.name: row.receptive_field_px for row in rows}
    # conv1 5; pool +2·1; conv2 +4·2; pool +2·2; conv3 to conv5 +2·4 each; pool +2·4.
    assert fields == {"conv1": 5, "relu": None, "lrn": 15, "max pool": 51, "conv2": 15,
                      "conv3": 27, "conv4": 35, "conv5": 43, "fc6": None, "fc7": None,
                      "fc8": None, "dropout": None}  # fmt: skip
    assert rows[0].activation_bytes == 96 * 32 * 32 * 4


@pytest.mark.parametrize(
    ("options", "present", "absent"),
    [
        ({"activation": Activation.TANH}, "tanh", "relu"),
        ({"lrn": False}, "max pool", "lrn"),
        ({}, "lrn", "tanh"),
    ],
)
def test_switches_show(options, present, absent):
    names = {row.name for row in table(Network.ALEXNET_CIFAR, **options)}
    assert present in names
    assert absent not in names


def test_plain_pools_leave_as_much_and_no_switch_moves_a_weight():
    overlapping = table(Network.ALEXNET, 1000)
    plain = table(Network.ALEXNET, 1000, pool=Pool.PLAIN)
    assert [r.output_shape for r in plain] == [r.output_shape for r in overlapping]
    assert {r.kernel for r in plain if r.name == "max pool"} == {2}
    networks = [
        outline_network(network_spec(Network.ALEXNET, num_classes=10, crop_size_px=224,
                                     options=options))
        for options in ({}, {"lrn": False, "pool": Pool.PLAIN, "activation": Activation.TANH})
    ]  # fmt: skip
    assert list(networks[0].state_dict()) == list(networks[1].state_dict())


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
