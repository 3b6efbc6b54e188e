"""What an experiment is: networks to train, what to measure, and what the literature claims."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

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
