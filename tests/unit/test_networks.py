import copy
import json

import pytest

from alexnet_cli.errors import UsageError
from alexnet_cli.networks import OPTIONS, Activation, Network, NetworkSpec, Pool, network_spec


def test_a_network_is_its_name_and_carries_its_description():
    assert Network("alexnet-owt") is Network.ALEXNET_OWT
    assert json.dumps([*Network]) == json.dumps([network.value for network in Network])
    assert copy.deepcopy(Network.ALEXNET) is Network.ALEXNET
    for network in Network:
        assert set(network.info.options) <= set(OPTIONS)
        assert network.info.summary
        assert network.info.source


def test_options_that_are_not_given_are_the_networks_own():
    options = {"activation": Activation.RELU, "lrn": None, "pool": Pool.OVERLAPPING,
                "groups": None, "kernels": None}  # fmt: skip
    found = network_spec(
        Network.CUDA_CONVNET_11PCT, num_classes=3, crop_size_px=24, options=options
    )
    assert found == NetworkSpec(Network.CUDA_CONVNET_11PCT, 3, 24, lrn=True, groups=1)
    found = network_spec(Network.ALEXNET_CIFAR_BN, num_classes=3, crop_size_px=24)
    assert (found.lrn, found.groups) == (False, 2)
    options = {"lrn": False, "groups": 1, "pool": Pool.PLAIN}
    found = network_spec(Network.ALEXNET_CIFAR_BN, num_classes=3, crop_size_px=24, options=options)
    assert (found.lrn, found.groups, found.pool) == (False, 1, Pool.PLAIN)


@pytest.mark.parametrize(
    ("name", "option", "flag"),
    [
        (Network.ALEXNET_CIFAR_BN, {"lrn": True}, "--lrn"),
        (Network.CUDA_CONVNET_18PCT, {"groups": 2}, "--groups 2"),
        (Network.ALEXNET_OWT, {"activation": Activation.TANH}, "--activation tanh"),
        (Network.ALEXNET_OWT, {"lrn": True}, "--lrn"),
        (Network.ALEXNET_OWT, {"groups": 2}, "--groups 2"),
        (Network.ALEXNET_OWT, {"pool": Pool.PLAIN}, "--pool plain"),
    ],
    ids=str,
)
def test_options_a_network_lacks_are_refused(name, option, flag):
    with pytest.raises(UsageError, match=f"with {flag}") as caught:
        network_spec(name, num_classes=3, crop_size_px=24, options=option)
    assert (", ".join(name.info.options) or "none") in caught.value.hint
