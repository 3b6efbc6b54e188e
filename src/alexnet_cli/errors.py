"""What a user did or met that the program can name: the object, the cause, a command that helps.

Bugs are not wrapped; they keep their traceback.
"""


class AlexnetError(Exception):
    """An error with a cause to read and, where one is known, a command that repairs it."""

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
    """A dataset, archive or image is missing, damaged or not what it should be."""

    code = "data"


class DownloadError(AlexnetError):
    """A file could not be fetched whole and right."""

    code = "download_failed"


class CheckpointError(AlexnetError):
    """A checkpoint is missing, damaged or of another configuration."""

    code = "checkpoint_corrupt"


class ModelFileError(AlexnetError):
    """An exported model is missing, damaged or without a valid manifest."""

    code = "model_file"


class DeviceError(AlexnetError):
    """The device or precision that was asked for is not usable here."""

    code = "device_unavailable"


class ExportError(AlexnetError):
    """An export was refused because the written model differs from the trained one."""

    code = "export_differs"


class TrainingError(AlexnetError):
    """Training cannot go on."""

    code = "training_failed"


class Interrupted(AlexnetError):  # noqa: N818 - it is an outcome, not a failure
    """A signal asked the program to stop; everything worth keeping was saved."""

    code = "interrupted"

    def __init__(self, message: str, *, signal_number: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = 128 + signal_number
