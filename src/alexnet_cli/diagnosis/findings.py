"""What a diagnosis finds."""

from dataclasses import dataclass
from enum import StrEnum

from alexnet_cli.inference.obstacles import Obstacle


class Level(StrEnum):
    """How much a finding matters."""

    BROKEN = "broken"
    NOTE = "note"


@dataclass(frozen=True)
class Finding:
    """Something to know or to repair.

    Attributes:
        level: Whether something that should work does not.
        subject: What it is about, in a word or two.
        cause: What was found.
        repair: A command, or else a deed; None where nothing has to be done.
    """

    level: Level
    subject: str
    cause: str
    repair: str | None = None


def broken(subject: str, obstacle: Obstacle) -> Finding:
    """Return a finding that fails the diagnosis."""
    return Finding(Level.BROKEN, subject, obstacle.cause, obstacle.repair)
