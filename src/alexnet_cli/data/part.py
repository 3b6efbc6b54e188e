"""A download that has not arrived whole yet, kept so that the next attempt can go on."""

import json
from dataclasses import dataclass
from pathlib import Path

from alexnet_cli.files import atomic_write


@dataclass(frozen=True)
class Part:
    """The bytes of a file that has not arrived whole yet, and the version they are of.

    Attributes:
        path: The file; beside it lies a JSON file with the address and the server's name for the
            version (an ETag, or the time of the last change).
    """

    path: Path

    @property
    def num_bytes(self) -> int:
        """Bytes that are there; 0 without a file."""
        return self.path.stat().st_size if self.path.is_file() else 0

    def validator(self, url: str) -> str | None:
        """Return the version that the bytes are of at this address, if known."""
        try:
            known = json.loads(self._version_path.read_text())
            return str(known["validator"]) if known["url"] == url else None
        except (OSError, ValueError, KeyError, TypeError):
            return None  # the hash decides in the end; this only saves bytes

    def begin(self, url: str, validator: str | None) -> None:
        """Throw the bytes away and begin with another version."""
        self.remove()
        if validator is not None:
            document = json.dumps({"url": url, "validator": validator})
            atomic_write(self._version_path, document.encode())

    def remove(self) -> None:
        """Delete both files."""
        for path in (self.path, self._version_path):
            path.unlink(missing_ok=True)

    @property
    def _version_path(self) -> Path:
        return self.path.with_name(f"{self.path.name}.json")
