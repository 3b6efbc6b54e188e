"""Differences between the paper and this project, as `alexnet explain` prints them.

A network's own differences stand beside its class (`departures`) and, for its training, in its
registry entry (`NetworkInfo.training_departures`). Here are those that several networks share.
"""

from torch import nn

from alexnet_cli.models.build import outline_network
from alexnet_cli.networks import (
    Activation,
    Departure,
    Kernels,
    Network,
    NetworkSpec,
    Pool,
    network_spec,
)

_OPTIONS = {  # option: the value that is not the paper's, the paper's choice, the choice here
    "activation": (Activation.TANH, "ReLUs after the hidden layers (§3.1)", "tanh"),
    "lrn": (False, "local response normalisation (§3.3)", "none"),
    "pool": (Pool.PLAIN, "overlapping 3×3 pools at stride 2 (§3.4)", "2×2 at stride 2"),
    "kernels": (
        Kernels.HALF,
        "all kernels on two GPUs; half as many in conv1 to conv4 on one (§3.2)",
        "half as many",
    ),
    "groups": (1, "convolutions in two towers, one on each GPU (§3.2, §3.5)", "one tower"),
}

_PAPER_TRAINING = (
    Departure(
        paper="weights N(0, 0.01), biases of 1 in conv2, conv4, conv5 and the hidden fully "
        "connected layers (§5)",
        here="He initialisation and zero biases",
        because="the paper's start needs inputs of 0–255 (mean subtracted, standard deviation "
        "about 70); on inputs of unit variance its logits hardly depend on the image, and the "
        "training loss stays at ln(classes)",
    ),
    Departure(
        paper="the colour noise of an image is [p1, p2, p3][α1 λ1, α2 λ2, α3 λ3]ᵀ: p the principal "
        "components of the training set's colours, λ their variances, α ~ N(0, 0.1) drawn anew "
        "whenever the image is used (§4.1)",
        here="√λ in place of λ",
        because="the original's data provider calls these factors standard deviations; λ itself, "
        "in the thousands on the scale 0–255, would drown the image",
    ),
    Departure(
        paper='"divide the learning rate by 10 when the validation error rate stopped improving '
        'with the current learning rate", three times, by hand (§5)',
        here="it is divided when `patience` epochs have passed since the best validation accuracy "
        "or the last division",
        because="a program needs a rule",
    ),
)
_CROPS = (
    Departure(
        paper="random 224-px crops of 256-px images and their mirror images (§4.1)",
        here="the sizes are settings, and zero pixels may be put around the image first",
        because="other datasets have images of other sizes",
    ),
)
_EVERY_TRAINING = (
    Departure(
        paper="the mean over the training set is subtracted from each pixel, on the scale 0–255 "
        "(§2)",
        here="the mean by channel, the same for all pixels, and by default a division by the "
        "standard deviation",
        because="crops of other sizes then get the same input, and with He initialisation training "
        "starts at once on any data",
    ),
    Departure(
        paper="the velocity includes the learning rate: v ← 0.9 v - ε·(g + 0.0005 w) (§5)",
        here="PyTorch multiplies by it at the update, so that without Nesterov momentum the "
        "velocity is scaled by the old over the new learning rate when that changes",
        because="this makes the two equal",
    ),
)


def network_departures(spec: NetworkSpec) -> tuple[Departure, ...]:
    """Return the differences of a network's layers: its options, its class, its layer types.

    Raises:
        UsageError: The input size does not suit the network.
    """
    own = network_spec(spec.name, num_classes=1, crop_size_px=1)
    chosen = (
        Departure(paper, here, because="it was asked for")
        for key, (value, paper, here) in _OPTIONS.items()
        if getattr(spec, key) == value != getattr(own, key)
    )
    kinds: dict[type[nn.Module], None] = dict.fromkeys(map(type, outline_network(spec).modules()))
    return (*chosen, *(each for kind in kinds for each in getattr(kind, "departures", ())))


def training_departures(name: Network) -> tuple[Departure, ...]:
    """Return the differences of a network's training."""
    info = name.info
    has_crops = info.own_crop_px(info.image_size_px) < info.image_size_px
    return (
        *(_PAPER_TRAINING if info.has_dropout else ()),
        *info.training_departures,
        *(_CROPS if has_crops else ()),
        *_EVERY_TRAINING,
    )
