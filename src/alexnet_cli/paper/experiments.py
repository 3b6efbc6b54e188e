"""What an experiment is: networks to train, what to measure, and what the literature claims.

The experiments by name.

Sources: Krizhevsky et al. 2012, the paper; the cuda-convnet wiki and cuda-convnet's
`example-layers`; its `convdata.py` for the views of a test.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from alexnet_cli.config.schema import Schedule
from alexnet_cli.errors import UsageError
from alexnet_cli.networks import Activation, Kernels, Network, Pool

TRAIN_ERROR = 0.25
"""The training error whose epoch is looked for: that of the paper's figure 1."""

INFINITE = float("inf")


class Measure(StrEnum):
    """What is measured of a trained network."""

    TEST_ERROR = "test error"
    TEST_ERROR_10_VIEWS = "test error, 10 views"
    EPOCHS = "epochs to 25 % training error"

    @property
    def num_views(self) -> int:
        """Crops averaged for each test image; 0: the test set is not needed."""
        return {Measure.TEST_ERROR: 1, Measure.TEST_ERROR_10_VIEWS: 10}.get(self, 0)


class Form(StrEnum):
    """How a claim's number comes from what was measured."""

    LEVEL = "level"
    DIFFERENCE = "difference"
    RATIO = "ratio"


@dataclass(frozen=True)
class Arm:
    """A network to train, as settings that differ from its own published training."""

    name: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Side:
    """What was measured of an arm."""

    arm: str
    measure: Measure


@dataclass(frozen=True)
class Claim:
    """A statement of the literature that numbers can be held against.

    Attributes:
        text: The statement.
        published: The figure as it was published; "" where only a direction is claimed.
        side: What it is about.
        region: The statement holds with numbers between these two. Errors are shares 0–1.
        against: What it is compared with, by `form`.
        form: The side itself, the side less the other, or the side over the other.
    """

    text: str
    published: str
    side: Side
    region: tuple[float, float]
    against: Side | None = None
    form: Form = Form.LEVEL

    @property
    def sides(self) -> tuple[Side, ...]:
        """What has to be measured."""
        return (self.side,) if self.against is None else (self.side, self.against)

    @property
    def is_share(self) -> bool:
        """Whether its number is a share, or a difference of shares."""
        return self.form is not Form.RATIO and self.side.measure is not Measure.EPOCHS


@dataclass(frozen=True)
class Experiment:
    """Networks to train with several seeds, and the claims to hold the results against.

    Attributes:
        name: As on the command line.
        title: What is asked.
        source: Where the claims come from.
        arms: What is trained.
        claims: What is claimed.
        num_seeds: Seeds by default.
        rates: Learning rates tried for each arm with seed 0, before the seeds from 1 on; none: the
            network's own.
        remarks: Departures from the source, and what it leaves unsaid.
    """

    name: str
    title: str
    source: str
    arms: tuple[Arm, ...]
    claims: tuple[Claim, ...]
    num_seeds: int = 3
    rates: tuple[float, ...] = ()
    remarks: tuple[str, ...] = ()

    def measures_of(self, arm: Arm) -> tuple[Measure, ...]:
        """Return what the claims need of an arm."""
        found = [side.measure for claim in self.claims for side in claim.sides
                 if side.arm == arm.name]  # fmt: skip
        return tuple(dict.fromkeys(found))


_WITHIN = 0.01
"""A published error counts as met within one point: it is of one run, and rounded to a percent."""

_LOWER = (-INFINITE, 0.0)
_TEST, _VIEWS_10, _EPOCHS = Measure.TEST_ERROR, Measure.TEST_ERROR_10_VIEWS, Measure.EPOCHS


def _level(arm: str, error: float, measure: Measure = _TEST) -> Claim:
    """Claim the published test error of a network."""
    return Claim(
        f"{arm} errs on {error:.3g} % of the test images",
        f"{error:.3g} %",
        Side(arm, measure),
        (error / 100 - _WITHIN, error / 100 + _WITHIN),
    )


def _lowers(text: str, side: Side, against: Side, *, published: str = "") -> Claim:
    """Claim that one error is below another."""
    return Claim(text, published, side, _LOWER, against, Form.DIFFERENCE)


def _pair(text: str, arm: str, other: str, *, published: str) -> Claim:
    return _lowers(text, Side(arm, _TEST), Side(other, _TEST), published=published)


def _cuda_convnet(short: str, **settings: Any) -> dict[str, Any]:
    return {"model": Network(f"cuda-convnet-{short}"), **settings}


_CONVNET_REMARKS = (
    "Their author trained on batches 1 to 4 first and on all five later; here 5,000 images stay "
    "held out to the end, and the best epoch on them is measured.",
    "The networks that train on crops are measured with ten views, five crops and their mirror "
    "images, as cuda-convnet's data provider has them (cuda-convnet2's has nine).",
)

_RELU = Experiment(
    name="relu",
    title="Do ReLUs learn faster than tanh?",
    source="the paper, figure 1",
    arms=tuple(
        Arm(activation, _cuda_convnet("19pct", activation=activation, schedule=Schedule.CONSTANT,
                                      weight_decay=0.0, epochs=60))
        for activation in Activation
    ),
    claims=(
        Claim(
            "with ReLUs 25 % training error is reached in fewer epochs than with tanh",
            "",
            Side("tanh", _EPOCHS),
            (1.0, INFINITE),
            Side("relu", _EPOCHS),
            Form.RATIO,
        ),
        Claim(
            "it is reached six times faster",
            "6×",
            Side("tanh", _EPOCHS),
            (5.5, 6.5),
            Side("relu", _EPOCHS),
            Form.RATIO,
        ),
    ),
    num_seeds=5,
    rates=(0.0003, 0.001, 0.003, 0.01, 0.03),
    remarks=(
        "The paper does not say which four-layer network; here it is cuda-convnet's 19pct, three "
        "convolutions and a fully connected layer, without weight decay, crops and mirror images.",
        "The training error of an epoch is that of its own updates, as training logs it; it is "
        "taken as the error in the middle of the epoch, and the epoch of 25 % is interpolated.",
        "Each rate is tried with seed 0; the one that reaches 25 % first is the arm's. A run ends "
        "when it has reached it, or when another rate was faster. Neighbouring rates are a factor "
        "of three apart: between them either network may be somewhat faster.",
    ),
)  # fmt: skip

_LRN = Experiment(
    name="lrn",
    title="Does local response normalisation lower the error?",
    source="the paper, §3.3; the cuda-convnet wiki",
    arms=(
        Arm("13pct", _cuda_convnet("13pct")),
        Arm("13pct with LRN", _cuda_convnet("13pct", lrn=True)),
        Arm("11pct without LRN", _cuda_convnet("11pct", lrn=False)),
        Arm("11pct", _cuda_convnet("11pct")),
    ),
    claims=(
        _level("13pct", 13, _VIEWS_10),
        _level("11pct", 11, _VIEWS_10),
        _lowers("LRN lowers the error of 13pct", Side("13pct with LRN", _VIEWS_10),
                Side("13pct", _VIEWS_10), published="2 points"),
        _lowers("LRN lowers the error of 11pct", Side("11pct", _VIEWS_10),
                Side("11pct without LRN", _VIEWS_10), published="2 points"),
    ),
    remarks=(
        "The paper's two networks differ in more than LRN: the one with 11 % is wider in its first "
        "locally connected layer, decays its last layer more, and was trained for 520 epochs in "
        "place of 160. Here each is trained with and without.",
        *_CONVNET_REMARKS,
    ),
)  # fmt: skip

_OVERLAP = Experiment(
    name="overlap",
    title="Do overlapping pools lower the error?",
    source="the paper, §3.4",
    arms=(Arm("overlapping", {}), Arm("plain", {"pool": Pool.PLAIN})),
    claims=(
        _pair("overlapping pools lower the error", "overlapping", "plain",
              published="0.4 points, ImageNet"),
    ),
)  # fmt: skip

_DROPOUT = Experiment(
    name="dropout",
    title="Does dropout lower the error?",
    source="the paper, §4.2",
    arms=(Arm("dropout", {}), Arm("no dropout", {"dropout": 0.0})),
    claims=(_pair("dropout lowers the error", "dropout", "no dropout", published=""),),
    remarks=("The paper has no number: without dropout, it says, the network overfits.",),
)

_GROUPS = Experiment(
    name="groups",
    title="Do two towers of kernels err less than one tower of half as many?",
    source="the paper, §3.2",
    arms=(Arm("two towers", {}), Arm("one tower", {"groups": 1, "kernels": Kernels.HALF})),
    claims=(_pair("two towers lower the error", "two towers", "one tower",
                  published="1.7 points, ImageNet"),),
    remarks=(
        "As in the paper, the tower that is alone keeps all kernels of the last convolution, and "
        "so all weights behind it; the comparison favours it, the paper says.",
    ),
)  # fmt: skip

_VIEWS = Experiment(
    name="views",
    title="Does averaging ten views lower the error?",
    source="the paper, §4.1 and the note to its results",
    arms=(Arm("alexnet-cifar", {}),),
    claims=(
        _lowers("ten views lower the error of the same network", Side("alexnet-cifar", _VIEWS_10),
                Side("alexnet-cifar", _TEST), published="1.5 points, ImageNet"),
    ),
)  # fmt: skip

_LADDER = Experiment(
    name="ladder",
    title="Do Krizhevsky's own networks reach their published errors?",
    source="the cuda-convnet wiki",
    arms=(
        Arm("80sec", _cuda_convnet("80sec")),
        Arm("19pct", _cuda_convnet("19pct")),
        Arm("18pct", _cuda_convnet("18pct")),
        Arm("19pct with crops", _cuda_convnet("19pct", crop_size=24, flip=True, weight_decay=0.0)),
        Arm("13pct", _cuda_convnet("13pct")),
        Arm("11pct", _cuda_convnet("11pct")),
    ),
    claims=(
        _level("80sec", 26),
        _level("19pct", 19),
        _level("18pct", 18),
        _level("19pct with crops", 14.2, _VIEWS_10),
        _level("13pct", 13, _VIEWS_10),
        _level("11pct", 11, _VIEWS_10),
    ),
    remarks=_CONVNET_REMARKS,
)

_CIFAR90 = Experiment(
    name="cifar90",
    title="What does AlexNet reach on CIFAR-10 in 90 epochs?",
    source="this project's first goal; the cuda-convnet wiki",
    arms=(Arm("alexnet-cifar", {}),),
    claims=tuple(
        Claim(
            f"it errs no more than Krizhevsky's best network for CIFAR-10, {words}",
            "11 %",
            Side("alexnet-cifar", measure),
            (-INFINITE, 0.11),
        )
        for measure, words in ((_TEST, "one view"), (_VIEWS_10, "ten views"))
    ),
    num_seeds=1,
    remarks=(
        "The paper itself has no AlexNet on CIFAR-10. The settings are this project's defaults: "
        "the paper's, but for the initial weights and the rates of biases, which are those of the "
        "released source, and two zero pixels around the image before its crops of 28 pixels.",
    ),
)

EXPERIMENTS = {
    each.name: each
    for each in (_RELU, _LRN, _OVERLAP, _DROPOUT, _GROUPS, _VIEWS, _LADDER, _CIFAR90)
}


def find_experiment(name: str) -> Experiment:
    """Return an experiment by name.

    Raises:
        UsageError: There is none.
    """
    if name not in EXPERIMENTS:
        raise UsageError(
            f"no experiment is called {name!r}; there are {', '.join(EXPERIMENTS)}",
            hint="they are described by: alexnet reproduce --list",
        )
    return EXPERIMENTS[name]
