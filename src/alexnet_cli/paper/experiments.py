"""The experiments of `alexnet reproduce`: networks to train, and the published claims about them.

Sources: Krizhevsky et al. 2012, the paper; the cuda-convnet wiki and cuda-convnet's
`example-layers`; its `convdata.py` for the views of a test.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import Any

from alexnet_cli.config.schema import Schedule
from alexnet_cli.errors import UsageError
from alexnet_cli.networks import Activation, Kernels, Network, Pool

TRAIN_ERROR = 0.25  # of the paper's figure 1: experiments count the epochs until it is reached


class Measure(StrEnum):
    TEST_ERROR = "test error"
    TEST_ERROR_10_VIEWS = "test error, 10 views"
    EPOCHS = "epochs to 25 % training error"

    @property
    def num_views(self) -> int:
        """Crops averaged for each test image; 0 if the test set is not needed."""
        return {Measure.TEST_ERROR: 1, Measure.TEST_ERROR_10_VIEWS: 10}.get(self, 0)


class ClaimKind(StrEnum):
    """The number that a claim is about."""

    LEVEL = "level"  # a test error
    DIFFERENCE = "difference"  # between two test errors
    RATIO = "ratio"  # of two numbers of epochs


@dataclass(frozen=True)
class Quantity:
    arm: str
    measure: Measure = Measure.TEST_ERROR


@dataclass(frozen=True)
class Claim:
    """A published statement that can be compared with numbers."""

    text: str
    published: str  # the published figure; "" if only a direction is claimed
    region: tuple[float, float]  # bounds of the numbers that agree with it; errors are 0–1
    quantity: Quantity
    baseline: Quantity | None = None  # what the quantity is compared with

    @property
    def kind(self) -> ClaimKind:
        if self.baseline is None:
            return ClaimKind.LEVEL
        is_error = self.quantity.measure is not Measure.EPOCHS
        return ClaimKind.DIFFERENCE if is_error else ClaimKind.RATIO

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        return (self.quantity,) if self.baseline is None else (self.quantity, self.baseline)


@dataclass(frozen=True)
class Experiment:
    """Networks to train with several seeds, and the claims about them."""

    name: str  # on the command line
    title: str  # the question
    source: str  # of the claims
    arms: Mapping[str, Mapping[str, Any]]  # by name: settings that differ from published training
    claims: tuple[Claim, ...]
    num_seeds: int = 3
    learning_rates: tuple[float, ...] = ()  # to try for each arm first; empty: the network's own
    remarks: tuple[str, ...] = ()  # departures from the source, and what it leaves open

    @property
    def quantities(self) -> list[Quantity]:
        """The quantities that the claims need, each once."""
        return list(dict.fromkeys(each for claim in self.claims for each in claim.quantities))


def find_experiment(name: str) -> Experiment:
    """Return an experiment by name.

    Raises:
        UsageError: There is no such experiment.
    """
    if name not in EXPERIMENTS:
        raise UsageError(
            f"unknown experiment {name!r}; choose from {', '.join(EXPERIMENTS)}",
            hint="describe them with: alexnet reproduce --list",
        )
    return EXPERIMENTS[name]


_TOLERANCE = 0.01  # a published error is of one run and rounded to a percent
_VIEWS_10, _EPOCHS = Measure.TEST_ERROR_10_VIEWS, Measure.EPOCHS
_LOWER = (-inf, 0.0)  # the region of a difference


def _reaches(arm: str, percent: float, measure: Measure = Measure.TEST_ERROR) -> Claim:
    """Claim the published test error of a network."""
    error, published = percent / 100, f"{percent:.3g} %"
    region = (error - _TOLERANCE, error + _TOLERANCE)
    return Claim(f"{arm} has {published} test error", published, region, Quantity(arm, measure))


def _cuda_convnet(short: str, **settings: Any) -> dict[str, Any]:
    return {"model": Network(f"cuda-convnet-{short}"), **settings}


_CONVNET_REMARKS = (
    "Their author trained on batches 1 to 4 first and on all five later. Here 5,000 images stay "
    "held out to the end, and the epoch with the best validation accuracy is tested.",
    "Networks that train on crops are tested with ten views, five crops and their horizontal "
    "flips, as in cuda-convnet's data provider (cuda-convnet2's has nine).",
)

_RELU = Experiment(
    name="relu",
    title="Do ReLUs learn faster than tanh?",
    source="the paper, figure 1",
    arms={
        str(activation): _cuda_convnet(
            "19pct", activation=activation, schedule=Schedule.CONSTANT, weight_decay=0.0, epochs=60
        )
        for activation in Activation
    },
    claims=(
        Claim("ReLU reaches 25 % training error in fewer epochs than tanh", "", (1.0, inf),
              Quantity("tanh", _EPOCHS), Quantity("relu", _EPOCHS)),
        Claim("ReLU reaches it six times faster", "6×", (5.5, 6.5),
              Quantity("tanh", _EPOCHS), Quantity("relu", _EPOCHS)),
    ),
    num_seeds=5,
    learning_rates=(0.0003, 0.001, 0.003, 0.01, 0.03),
    remarks=(
        "The paper does not name its four-layer network. Here it is cuda-convnet's 19pct, three "
        "convolutions and a fully connected layer, without weight decay, crops and flips.",
        "The training error of an epoch is the average over its updates, as training logs it. It "
        "counts as the error in the middle of the epoch; the epoch of 25 % is interpolated.",
        "Each learning rate is tried with seed 0; the one that reaches 25 % first is used. A run "
        "ends when it has reached 25 %, or when another learning rate was faster. Neighbouring "
        "learning rates are a factor of three apart: between them either network may be somewhat "
        "faster.",
    ),
)  # fmt: skip

_LRN = Experiment(
    name="lrn",
    title="Does local response normalisation lower the error?",
    source="the paper, §3.3; the cuda-convnet wiki",
    arms={
        "13pct": _cuda_convnet("13pct"),
        "13pct with LRN": _cuda_convnet("13pct", lrn=True),
        "11pct without LRN": _cuda_convnet("11pct", lrn=False),
        "11pct": _cuda_convnet("11pct"),
    },
    claims=(
        _reaches("13pct", 13, _VIEWS_10),
        _reaches("11pct", 11, _VIEWS_10),
        Claim("LRN lowers the error of 13pct", "2 points", _LOWER,
              Quantity("13pct with LRN", _VIEWS_10), Quantity("13pct", _VIEWS_10)),
        Claim("LRN lowers the error of 11pct", "2 points", _LOWER,
              Quantity("11pct", _VIEWS_10), Quantity("11pct without LRN", _VIEWS_10)),
    ),
    remarks=(
        "The paper's two networks differ in more than LRN: the one with 11 % has a wider first "
        "locally connected layer and more weight decay in its last layer, and was trained for 520 "
        "epochs instead of 160. Here each is trained with and without LRN.",
        *_CONVNET_REMARKS,
    ),
)  # fmt: skip

_OVERLAP = Experiment(
    name="overlap",
    title="Does overlapping pooling lower the error?",
    source="the paper, §3.4",
    arms={"overlapping": {}, "plain": {"pool": Pool.PLAIN}},
    claims=(
        Claim("overlapping pooling lowers the error", "0.4 points, ImageNet", _LOWER,
              Quantity("overlapping"), Quantity("plain")),
    ),
)  # fmt: skip

_DROPOUT = Experiment(
    name="dropout",
    title="Does dropout lower the error?",
    source="the paper, §4.2",
    arms={"dropout": {}, "no dropout": {"dropout": 0.0}},
    claims=(
        Claim("dropout lowers the error", "", _LOWER,
              Quantity("dropout"), Quantity("no dropout")),
    ),
    remarks=("The paper gives no number. It reports that the network overfits without dropout.",),
)  # fmt: skip

_GROUPS = Experiment(
    name="groups",
    title="Do two towers of kernels have a lower error than one tower of half as many?",
    source="the paper, §3.2",
    arms={"two towers": {}, "one tower": {"groups": 1, "kernels": Kernels.HALF}},
    claims=(
        Claim("two towers lower the error", "1.7 points, ImageNet", _LOWER,
              Quantity("two towers"), Quantity("one tower")),
    ),
    remarks=(
        "As in the paper, the single tower keeps all kernels of the last convolution, and so all "
        "weights after it. The paper notes that this favours the single tower.",
    ),
)  # fmt: skip

_VIEWS = Experiment(
    name="views",
    title="Does averaging ten views lower the error?",
    source="the paper, §4.1 and the note to its results",
    arms={"alexnet-cifar": {}},
    claims=(
        Claim("ten views lower the error of the same network", "1.5 points, ImageNet", _LOWER,
              Quantity("alexnet-cifar", _VIEWS_10), Quantity("alexnet-cifar")),
    ),
)  # fmt: skip

_LADDER = Experiment(
    name="ladder",
    title="Do Krizhevsky's own networks reach their published errors?",
    source="the cuda-convnet wiki",
    arms={
        "80sec": _cuda_convnet("80sec"),
        "19pct": _cuda_convnet("19pct"),
        "18pct": _cuda_convnet("18pct"),
        "19pct with crops": _cuda_convnet("19pct", crop_size=24, flip=True, weight_decay=0.0),
        "13pct": _cuda_convnet("13pct"),
        "11pct": _cuda_convnet("11pct"),
    },
    claims=(
        _reaches("80sec", 26),
        _reaches("19pct", 19),
        _reaches("18pct", 18),
        _reaches("19pct with crops", 14.2, _VIEWS_10),
        _reaches("13pct", 13, _VIEWS_10),
        _reaches("11pct", 11, _VIEWS_10),
    ),
    remarks=_CONVNET_REMARKS,
)

_CIFAR90 = Experiment(
    name="cifar90",
    title="What does AlexNet reach on CIFAR-10 in 90 epochs?",
    source="this project's first goal; the cuda-convnet wiki",
    arms={"alexnet-cifar": {}},
    claims=tuple(
        Claim(
            f"its test error is at most that of Krizhevsky's best network for CIFAR-10, {views}",
            "11 %",
            (-inf, 0.11),
            Quantity("alexnet-cifar", measure),
        )
        for measure, views in ((Measure.TEST_ERROR, "one view"), (_VIEWS_10, "ten views"))
    ),
    num_seeds=1,
    remarks=(
        "The paper does not train AlexNet on CIFAR-10. The settings are this project's defaults: "
        "those of the paper, except that initial weights and the learning rate of biases follow "
        "the released source, and images get two zero pixels on each side before crops of 28 "
        "pixels are taken.",
    ),
)

EXPERIMENTS = {
    each.name: each
    for each in (_RELU, _LRN, _OVERLAP, _DROPOUT, _GROUPS, _VIEWS, _LADDER, _CIFAR90)
}
