"""Fetch a file into the cache folder: `python fetch_once.py NAME URL BYTES SHA256`.

Prints each message to stderr.
"""

import sys

from alexnet_cli.console import ByteProgress
from alexnet_cli.data.cache import PublishedFile
from alexnet_cli.data.fetch import FetchOptions, download

name, url, num_bytes, sha256 = sys.argv[1:]
download(
    PublishedFile("cifar10", name, url, int(num_bytes), sha256),
    FetchOptions(),
    progress=ByteProgress("", total=0, quiet=True),
    notify=lambda message: print(message, file=sys.stderr, flush=True),  # noqa: T201
)
