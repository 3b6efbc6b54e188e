"""Values of a JSON document, each of the type it should have; anything else is a TypeError."""

from typing import Any


def integer(value: Any) -> int:
    """Return an integer; true and false are none."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{value!r} is not an integer")
    return value


def truth(value: Any) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is not true or false")
    return value


def number(value: Any) -> float:
    """Return a finite number of reasonable size."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e12:
        raise TypeError(f"{value!r} is not a finite number")
    return float(value)


def text(value: Any) -> str:
    """Return text that can be written again."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    value.encode()  # half a surrogate pair is a ValueError here, not later at the printer
    return value


def texts(value: Any) -> tuple[str, ...]:
    """Return a list of texts."""
    if not isinstance(value, list):
        raise TypeError("it is not a list")
    return tuple(text(each) for each in value)


def texts_by_name(value: Any) -> dict[str, str]:
    """Return an object whose values are texts."""
    return {text(key): text(each) for key, each in value.items()}


def three_numbers(value: Any) -> tuple[float, float, float]:
    """Return a number for each of red, green and blue."""
    red, green, blue = (number(channel) for channel in value)
    return red, green, blue
