"""The files that are published elsewhere: where, how large, and their hash.

Nothing in them is opened before the hash was checked. Sizes and hashes: the datasets' own pages
and several independent public projects.
"""

from dataclasses import dataclass
from pathlib import Path

from alexnet_cli.files import cache_folder

_TORONTO = "https://www.cs.toronto.edu/~kriz"
_CIFAR10_1 = "https://raw.githubusercontent.com/modestyachts/CIFAR-10.1/master/datasets"


@dataclass(frozen=True)
class PublishedFile:
    """A file with a known content.

    Attributes:
        dataset: The dataset that it belongs to, as --data calls it.
        name: File name in the cache folder.
        url: Where it is published.
        num_bytes: Its exact size; none for content that a user vouches for by its hash.
        sha256: Its hash, lowercase hexadecimal.
        equivalents: Other published files of the same images, accepted from the user.
    """

    dataset: str
    name: str
    url: str
    num_bytes: int | None
    sha256: str
    equivalents: tuple["PublishedFile", ...] = ()

    @property
    def path(self) -> Path:
        """Where the file is kept."""
        return cache_folder() / self.name

    @property
    def command(self) -> str:
        """What fetches it."""
        return f"alexnet download --data {self.dataset}"

    @property
    def accepted_hashes(self) -> tuple[str, ...]:
        """Hashes of this file and of its equivalents."""
        return (self.sha256, *(other.sha256 for other in self.equivalents))

    @property
    def part_path(self) -> Path:
        """Where the bytes of an unfinished download are kept."""
        return cache_folder() / f"{self.name}.{self.sha256[:12]}.part"

    @property
    def hash_path(self) -> Path:
        """Where the hash is kept of other content that the user vouched for."""
        return cache_folder() / f"{self.name}.sha256"


CIFAR10_ARCHIVE = PublishedFile(
    "cifar10",
    "cifar-10-binary.tar.gz",
    f"{_TORONTO}/cifar-10-binary.tar.gz",
    170_052_171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    equivalents=(
        PublishedFile(
            "cifar10",
            "cifar-10-python.tar.gz",
            f"{_TORONTO}/cifar-10-python.tar.gz",
            170_498_071,
            "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        ),
    ),
)
CIFAR100_ARCHIVE = PublishedFile(
    "cifar100",
    "cifar-100-binary.tar.gz",
    f"{_TORONTO}/cifar-100-binary.tar.gz",
    168_513_733,
    "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    equivalents=(
        PublishedFile(
            "cifar100",
            "cifar-100-python.tar.gz",
            f"{_TORONTO}/cifar-100-python.tar.gz",
            169_001_437,
            "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        ),
    ),
)
CIFAR10_1_IMAGES = PublishedFile(
    "cifar10.1",
    "cifar10.1_v6_data.npy",
    f"{_CIFAR10_1}/cifar10.1_v6_data.npy",
    6_144_128,
    "2997188e5816f5bd545dc77771b6227828c28146049fcecf3fa10775474cacc6",
)
CIFAR10_1_LABELS = PublishedFile(
    "cifar10.1",
    "cifar10.1_v6_labels.npy",
    f"{_CIFAR10_1}/cifar10.1_v6_labels.npy",
    8_128,
    "ae40beda001693674edc94d925ee8268cfe68905f8f9aff800c8dcdfcd6c9448",
)
