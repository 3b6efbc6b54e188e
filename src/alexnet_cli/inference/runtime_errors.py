"""What ONNX Runtime says when something fails, in words for people.

Needed after a failure only, so what it imports is imported when it is called.
"""

_NOISE = (
    r"\[ONNXRuntimeError\] : \d+ : \w+ : "
    # file:line, then a function with or without its signature
    r"|(?:/[\w./+-]*/)?\w+\.(?:cc|cpp|h):\d+ (?:[\w:<>*&~ ]*[\w>]\([^)]*\)|\w+)"
)
_MAX_CHARACTERS = 200


def first_line(error: Exception) -> str:
    """Return the first line of an error, without error codes and places in its source."""
    import re
    import textwrap

    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    words = re.sub(_NOISE, " ", line).removesuffix(".").split()
    return textwrap.shorten(" ".join(words), _MAX_CHARACTERS, placeholder=" …")
