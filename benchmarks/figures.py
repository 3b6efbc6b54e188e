"""A measured comparison: samples of both sides, their ratio, and the goal it is held against."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Goal:
    """A bound on a ratio.

    Attributes:
        sign: `>=` or `<=`.
        value: The bound.
    """

    sign: str
    value: float

    def is_met(self, ratio: float) -> bool:
        """Tell whether a ratio is within the bound."""
        return ratio >= self.value if self.sign == ">=" else ratio <= self.value


@dataclass(frozen=True)
class Figure:
    """Ours against theirs, sample by sample: the samples of one round belong together.

    Attributes:
        part: Part of the benchmark.
        what: What this project did.
        peer: What it is compared with.
        unit: Of the samples.
        ours: One sample a round.
        theirs: One sample a round.
        is_inverse: The ratio is theirs over ours (a speed-up from times), not ours over theirs.
        goal: The bound the ratio should keep, if there is one.
    """

    part: str
    what: str
    peer: str
    unit: str
    ours: Sequence[float]
    theirs: Sequence[float]
    is_inverse: bool = False
    goal: Goal | None = None

    @property
    def ratio(self) -> float:
        """The ratio of the medians."""
        return self._divide(statistics.median(self.ours), statistics.median(self.theirs))

    def _divide(self, ours: float, theirs: float) -> float:
        return theirs / ours if self.is_inverse else ours / theirs

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data for JSON."""
        by_round = [self._divide(a, b) for a, b in zip(self.ours, self.theirs, strict=True)]
        return {
            "part": self.part,
            "what": self.what,
            "peer": self.peer,
            "unit": self.unit,
            "ours": summarise(self.ours),
            "theirs": summarise(self.theirs),
            "ratio_is": "theirs / ours" if self.is_inverse else "ours / theirs",
            "ratio": self.ratio,
            "ratio_min": min(by_round),
            "ratio_max": max(by_round),
            "goal": f"{self.goal.sign} {self.goal.value:g}" if self.goal else None,
            "met": self.goal.is_met(self.ratio) if self.goal else None,
        }


def summarise(samples: Sequence[float]) -> dict[str, float]:
    """Return n, median, min and max."""
    return {
        "n": len(samples),
        "median": statistics.median(samples),
        "min": min(samples),
        "max": max(samples),
    }
