"""Fetch a file into the cache folder: `python fetch_once.py NAME URL BYTES SHA256`.

Prints the bytes fetched.
"""

import sys

from alexnet_cli.console import ByteProgress
from alexnet_cli.data.cache import PublishedFile
from alexnet_cli.data.fetch import FetchOptions, download

if __name__ == "__main__":
    name, url, num_bytes, sha256 = sys.argv[1:]
    wanted = PublishedFile("cifar10", name, url, int(num_bytes), sha256)
    progress = ByteProgress("", total=0, quiet=True)
    transfer = download(wanted, FetchOptions(), progress=progress)
    sys.stdout.write(f"{transfer.fetched_bytes}\n")
