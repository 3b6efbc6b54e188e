import time

import pytest

from alexnet_cli.training.loop import TimedIterator


def test_only_the_time_between_the_items_is_counted():
    def slow():
        for item in "ab":
            time.sleep(0.02)
            yield item

    clocked, items, used_seconds = TimedIterator(slow()), [], 0.0
    begin = time.perf_counter()
    for item in clocked:
        items.append(item)
        received = time.perf_counter()
        time.sleep(0.1)
        used_seconds += time.perf_counter() - received
    assert items == ["a", "b"]
    assert 0.04 <= clocked.seconds <= time.perf_counter() - begin - used_seconds


def test_an_error_passes():
    clocked = TimedIterator(int(text) for text in ["1", "x"])
    assert next(clocked) == 1
    with pytest.raises(ValueError, match="invalid literal"):
        next(clocked)
