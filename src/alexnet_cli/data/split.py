"""The split of a training set into what is trained on and what choices are made on."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from alexnet_cli.data.arrays import ImageSource
from alexnet_cli.errors import UsageError


def stratified_split(
    labels_N: NDArray[np.int64], *, val_size: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw a validation set with each class in proportion.

    Args:
        labels_N: Labels of the whole training set, shape (N,).
        val_size: Number of images to hold out.
        seed: Fixes the draw.

    Returns:
        Indices of the training and of the validation images, each sorted; disjoint, together
        all N.

    Raises:
        UsageError: Nothing would be left to train on.
    """
    total = len(labels_N)
    if not 0 < val_size < total:
        raise UsageError(
            f"cannot hold out {val_size} of {total} training images",
            hint=f"choose --val-size between 1 and {total - 1}",
        )
    counts = np.bincount(labels_N)
    # Largest remainders: the shares add up to val_size exactly.
    exact = counts * (val_size / total)
    quota = np.floor(exact).astype(np.int64)
    order = np.argsort(quota - exact, kind="stable")
    quota[order[: val_size - quota.sum()]] += 1
    generator = np.random.default_rng([seed, _SPLIT_STREAM])
    held_out = np.zeros(total, bool)
    for label, wanted in enumerate(quota):
        members = np.flatnonzero(labels_N == label)
        held_out[generator.permutation(members)[:wanted]] = True
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def describe_split(train: ImageSource, val: ImageSource) -> str:
    """Name a division of images into those trained on and those held out.

    Two divisions of the same name are the same, as far as `ImageSource.identity` tells.
    """
    digest = hashlib.sha256()
    for part in (train, val):
        digest.update(hashlib.sha256(part.identity()).digest())
    return f"{len(train):,} to train on, {len(val):,} held out ({digest.hexdigest()[:12]})"


_SPLIT_STREAM = 0x5B117  # keeps this draw apart from others made from the same seed
