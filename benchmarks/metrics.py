"""A measured comparison: samples of both sides, their ratio, and its goal."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Goal:
    """A bound on a ratio."""

    sign: str  # `>=` or `<=`
    value: float

    def is_met(self, ratio: float) -> bool:
        return ratio >= self.value if self.sign == ">=" else ratio <= self.value


@dataclass(frozen=True)
class Comparison:
    """This project against a peer, a sample of each in every round."""

    part: str  # of the benchmark
    what: str  # this project's work
    peer: str
    unit: str  # of the samples
    ours: Sequence[float]
    theirs: Sequence[float]
    is_inverse: bool = False  # the ratio is theirs / ours, a speed-up from times; not ours / theirs
    goal: Goal | None = None  # of the ratio

    @property
    def ratio(self) -> float:
        """Ratio of the medians."""
        return self._divide(statistics.median(self.ours), statistics.median(self.theirs))

    def _divide(self, ours: float, theirs: float) -> float:
        return theirs / ours if self.is_inverse else ours / theirs

    def to_dict(self) -> dict[str, Any]:
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
