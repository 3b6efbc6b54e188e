import numpy as np

from alexnet_cli.report.plots import Confusion, Pair, confused_pairs, shades

COUNTS = np.array([[8, 2, 0], [0, 5, 0], [1, 3, 0]])


def test_pairs_are_those_of_a_plain_loop():
    draw = np.random.default_rng(0)
    counts = draw.integers(0, 4, (9, 9))
    pairs = confused_pairs(Confusion(tuple("abcdefghi"), counts))
    every = [(-counts[t, p], t, p) for t in range(9) for p in range(9) if t != p and counts[t, p]]
    expected = [(t, p, -count) for count, t, p in sorted(every)][:40]
    assert [(pair.true, pair.predicted, pair.count) for pair in pairs] == expected


def test_a_share_is_of_the_true_class():
    assert confused_pairs(Confusion(("a", "b", "c"), COUNTS)) == [
        Pair(2, 1, 3, 0.75), Pair(0, 1, 2, 0.2), Pair(2, 0, 1, 0.25)
    ]  # fmt: skip


def test_shades_go_from_nothing_to_all_of_a_row():
    expected = [[9, 5, 0], [0, 10, 0], [5, 9, 0]]  # of √0.8, √0.2, √0.25, √0.75
    assert shades(Confusion(("a", "b", "c"), COUNTS)).tolist() == expected
    empty = Confusion(("a", "b"), np.zeros((2, 2), np.int64))
    assert shades(empty).tolist() == [[0, 0], [0, 0]]
    assert empty.share_right == 0
