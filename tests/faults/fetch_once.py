"""Fetch a file into the cache folder: `python fetch_once.py NAME URL BYTES SHA256`.

Prints the bytes fetched.
"""

import sys

from alexnet_cli.data.cache import PublishedFile
from alexnet_cli.data.fetch import FetchOptions, download


class Silence:
    """A progress bar that shows nothing."""

    total = 0

    def start_at(self, num_bytes: int) -> None:
        """Do nothing."""

    def update(self, num_bytes: int) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


if __name__ == "__main__":
    name, url, num_bytes, sha256 = sys.argv[1:]
    wanted = PublishedFile("cifar10", name, url, int(num_bytes), sha256)
    transfer = download(wanted, FetchOptions(), progress=Silence())
    sys.stdout.write(f"{transfer.fetched_bytes}\n")
