"""What is inside the official CIFAR archives, as data for the one reader in `cifar`.

Source: Krizhevsky 2009, "Learning Multiple Layers of Features from Tiny Images"; file layouts and
class names from the datasets' page at the University of Toronto.
"""

from dataclasses import dataclass

IMAGE_SIZE = 32
PIXEL_BYTES = 3 * IMAGE_SIZE * IMAGE_SIZE
_TEXT_BYTES = 100  # of a pickle, for each image: its label and its file name


@dataclass(frozen=True)
class Members:
    """The files of one archive, by their exact names.

    Attributes:
        train: Training images, in order.
        test: Test images.
    """

    train: tuple[str, ...]
    test: str

    @property
    def all(self) -> tuple[str, ...]:
        """Training files, then the test file."""
        return (*self.train, self.test)


@dataclass(frozen=True)
class CifarLayout:
    """A dataset that is published as a binary and as a Python archive.

    Attributes:
        name: What --data calls it.
        title: What people call it.
        classes: Class names in label order.
        binary: Files of records: label bytes, then a red, a green and a blue plane.
        python: Files that are pickled dictionaries.
        train_images: Images in each training file.
        test_images: Images in the test file.
        label_bytes: Label bytes of a record.
        label_place: Which of them is the class.
        label_key: Where the dictionaries hold the classes.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    binary: Members
    python: Members
    train_images: int
    test_images: int
    label_bytes: int = 1
    label_place: int = 0
    label_key: bytes = b"labels"

    @property
    def record_bytes(self) -> int:
        """Bytes of one image in a binary file, its labels included."""
        return self.label_bytes + PIXEL_BYTES

    @property
    def num_train(self) -> int:
        """Training images in all."""
        return self.train_images * len(self.binary.train)

    def num_images(self, name: str) -> int:
        """Return how many images the file of that name holds."""
        return self.test_images if name in (self.binary.test, self.python.test) else (
            self.train_images
        )  # fmt: skip

    def member_limit_bytes(self, name: str) -> int:
        """Return the most bytes that a file may have: pixels, pickled anew by Python 3, double."""
        return (2 * PIXEL_BYTES + _TEXT_BYTES) * self.num_images(name) + (1 << 16)

    @property
    def archive_limit_bytes(self) -> int:
        """The most bytes that an archive may unpack to."""
        return sum(map(self.member_limit_bytes, self.python.all)) + (1 << 20)


CIFAR10 = CifarLayout(
    "cifar10",
    "CIFAR-10",
    (
        "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
    ),
    binary=Members(
        tuple(f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)),
        "cifar-10-batches-bin/test_batch.bin",
    ),
    python=Members(
        tuple(f"cifar-10-batches-py/data_batch_{i}" for i in range(1, 6)),
        "cifar-10-batches-py/test_batch",
    ),
    train_images=10_000,
    test_images=10_000,
)  # fmt: skip

CIFAR100 = CifarLayout(
    "cifar100",
    "CIFAR-100",
    (
        "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle",
        "bottle", "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle",
        "caterpillar", "cattle", "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch",
        "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox",
        "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower", "leopard",
        "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse",
        "mushroom", "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck",
        "pine_tree", "plain", "plate", "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray",
        "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail",
        "snake", "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank",
        "telephone", "television", "tiger", "tractor", "train", "trout", "tulip", "turtle",
        "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
    ),
    binary=Members(("cifar-100-binary/train.bin",), "cifar-100-binary/test.bin"),
    python=Members(("cifar-100-python/train",), "cifar-100-python/test"),
    train_images=50_000,
    test_images=10_000,
    label_bytes=2,  # the coarse label, one of 20 superclasses, then the fine one
    label_place=1,
    label_key=b"fine_labels",
)  # fmt: skip
