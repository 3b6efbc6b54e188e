"""Errors that a user can act on: the object, the cause, and a command that helps.

Bugs are not wrapped; they keep their traceback.
"""

from collections.abc import Iterable, Sequence


class AlexnetError(Exception):
    """An error with a cause to read and, where one is known, a command that fixes it."""

    code = "error"
    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code


class UsageError(AlexnetError):
    """The command line, environment or configuration file asks for something impossible."""

    code = "usage"
    exit_code = 2


class DataError(AlexnetError):
    """A dataset, archive or image is missing, damaged or of the wrong kind."""

    code = "data"


class DownloadError(AlexnetError):
    """A file could not be downloaded completely and correctly."""

    code = "download_failed"


class CheckpointError(AlexnetError):
    """A checkpoint is missing, damaged or of another configuration."""

    code = "checkpoint_corrupt"


class ModelFileError(AlexnetError):
    """An exported model is missing, damaged or without a valid manifest."""

    code = "model_file"


class DeviceError(AlexnetError):
    """The requested device or precision is not usable here."""

    code = "device_unavailable"


class ExportError(AlexnetError):
    """An export was refused because the written model differs from the trained one."""

    code = "export_differs"


class TrainingError(AlexnetError):
    """Training cannot continue."""

    code = "training_failed"


class Interrupted(AlexnetError):  # noqa: N818 - it is an outcome, not a failure
    """A signal stopped the program, after it had saved its progress."""

    code = "interrupted"

    def __init__(self, message: str, *, signal_number: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = 128 + signal_number


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its type if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def join_some(names: Sequence[str], *, limit: int = 5, separator: str = ", ") -> str:
    """Join the first names for a message: `a, b, c and 2 more`."""
    more = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return separator.join(names[:limit]) + more


def did_you_mean(name: str, choices: Iterable[str], *, hint: str) -> str:
    """Return a hint, after the question for the choice nearest to a mistyped name, if one is."""
    import difflib  # here, as `re` below: `predict` does not wait for them

    near = difflib.get_close_matches(name, [str(choice) for choice in choices], n=1)
    return f"did you mean {near[0]!r}? {hint}" if near else hint


_OUT_OF_MEMORY_TEXTS = (
    "can't allocate memory",  # PyTorch's CPU allocator
    "bad_alloc",
    "Cannot allocate memory",
    "could not create a primitive",  # oneDNN, for its code and scratch memory
    "could not create a memory",
    "out of memory",  # the CUDA driver and runtime, Triton
    "ALLOC_FAILED",  # cuBLAS, cuDNN
    "cudaErrorMemoryAllocation",
    "allocate memory for requested buffer",  # ONNX Runtime
    "failed to map segment",  # the loader of libraries
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out, on any device."""
    # The latter is PyTorch's, which this module does not import.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    text = str(error)  # the libraries below PyTorch have no class for it
    return "descriptor" not in text and any(each in text for each in _OUT_OF_MEMORY_TEXTS)


_REWORDED = (
    (r"^Value error, ", ""),
    (r", (unable to (parse|interpret)|got a number).*", ""),
    (r"^Input should be a valid integer", "must be an integer"),
    (r"^Input should be a valid number", "must be a number"),
    (r"^Input should be a valid boolean", "must be true or false"),
    (r"^Input should be a valid string", "must be text"),
    (r"^Input should be greater than or equal to", "must be at least"),
    (r"^Input should be less than or equal to", "must be at most"),
    (r"^Input should be greater than", "must be above"),
    (r"^Input should be less than", "must be below"),
    (r"^(Input|String) should", "must"),
)


def reword_validation(message: str) -> str:
    """Return a message of pydantic, which Typer passes on as well, in our words."""
    import re

    for pattern, replacement in _REWORDED:
        message = re.sub(pattern, replacement, message)
    return message
