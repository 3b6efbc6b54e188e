"""Random answers of classifiers for property tests, the odd ones among them."""

import numpy as np
from hypothesis import strategies as st


@st.composite
def answers(draw):
    """Draw probabilities (N, K) and labels (N,).

    One class or several, ties or none, classes without images, classes that nothing is taken for.
    """
    num_images, num_classes = draw(st.integers(1, 60)), draw(st.integers(1, 12))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weights = generator.random((num_images, num_classes)) ** 6
    if draw(st.booleans()):  # a few levels, so that many are equal
        weights = np.ceil(weights * 3)
    weights[:, : draw(st.integers(0, num_classes - 1))] /= 1e3  # hardly ever predicted
    present = generator.permutation(num_classes)[: draw(st.integers(1, num_classes))]
    labels = generator.choice(present, num_images)
    return weights / weights.sum(axis=1, keepdims=True), labels
