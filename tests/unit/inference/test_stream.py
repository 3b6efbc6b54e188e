import threading
import time
import tracemalloc

import numpy as np
import pytest

from alexnet_cli.inference.classify import Choice, classify_one
from alexnet_cli.inference.inputs import Source
from alexnet_cli.inference.stream import LATEST_SECONDS, classify_stream


def sources_of(paths):
    return [Source(str(path), path) for path in paths]


def stream(model, paths, **options):
    return list(classify_stream(model, sources_of(paths), Choice(), **options))


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
@pytest.mark.parametrize("num_threads", [1, 4])
def test_each_image_gets_its_own_answer_in_order(model, paths, batch_size, num_threads):
    found = stream(model, paths, batch_size=batch_size, num_threads=num_threads)
    assert [prediction.source for prediction in found] == [str(path) for path in paths]
    for prediction, source in zip(found, sources_of(paths), strict=True):
        alone = classify_one(model, source, Choice())
        assert [c.index for c in prediction.top] == [c.index for c in alone.top]
        for one, other in zip(prediction.top, alone.top, strict=True):
            assert one.probability == pytest.approx(other.probability, abs=1e-5)
    assert len({p.top[0].name for p in found}) > 1


@pytest.mark.parametrize("batch_size", [1, 2, 4, 32])
@pytest.mark.parametrize("position", [0, 3, 7])
def test_an_unreadable_file_does_not_stop_the_others(model, paths, batch_size, position):
    broken = paths[0].parent / "broken.png"
    broken.write_bytes(b"no image")
    given = [*paths[:position], broken, *paths[position:]]
    found = stream(model, given, batch_size=batch_size)
    assert [prediction.source for prediction in found] == [str(path) for path in given]
    errors = [prediction for prediction in found if prediction.error is not None]
    assert [prediction.source for prediction in errors] == [str(broken)]
    assert "broken.png" in errors[0].error.message
    assert errors[0].top == ()
    assert all(prediction.top for prediction in found if prediction not in errors)


def test_nothing_and_nothing_but_unreadable_files(model, tmp_path):
    assert stream(model, []) == []
    found = stream(model, [tmp_path / "a.png", tmp_path / "b.png"])
    assert [prediction.error.code for prediction in found] == ["image_missing"] * 2


def test_a_file_named_twice_is_answered_twice(model, paths):
    one, two = stream(model, [paths[0], paths[0]])
    assert one == two


def test_order_holds_where_decoding_does_not(model):
    # Images of very different size: the small ones are decoded long before the large ones.
    sides = [1500, 9, 9, 1200, 9] * 4
    sources = [
        Source(str(number), np.full((side, side, 3), 10 * number, np.uint8))
        for number, side in enumerate(sides)
    ]
    found = list(classify_stream(model, sources, Choice(), batch_size=3, num_threads=4))
    assert [prediction.source for prediction in found] == [source.name for source in sources]
    for prediction, source in zip(found, sources, strict=True):
        assert prediction.top[0].index == classify_one(model, source, Choice()).top[0].index


def test_images_are_taken_as_they_are_needed(model, paths):
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield Source(str(paths[0]), paths[0])

    answers = classify_stream(model, endless(), Choice(), batch_size=4)
    for _ in range(40):
        next(answers)
    assert taken <= 40 + 4 * 4
    answers.close()
    deadline = time.monotonic() + 10
    while any(thread.name in ("find", "decode_0") for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "threads go on"
        time.sleep(0.01)


def test_a_slow_source_has_its_answers_at_once(model, paths):
    released = threading.Event()

    def slow():
        yield from sources_of(paths[:2])
        assert released.wait(60)
        yield from sources_of(paths[2:3])

    answers = classify_stream(model, slow(), Choice(), batch_size=32)
    begin = time.monotonic()
    assert [next(answers).source, next(answers).source] == [str(path) for path in paths[:2]]
    assert time.monotonic() - begin < LATEST_SECONDS + 20  # it would wait for a minute
    released.set()
    assert [p.source for p in answers] == [str(paths[2])]


def test_an_error_of_the_source_comes_after_the_answers_before_it(model, paths):
    def failing():
        yield from sources_of(paths[:2])
        raise ZeroDivisionError

    answers = classify_stream(model, failing(), Choice(), batch_size=32)
    assert [next(answers).source, next(answers).source] == [str(path) for path in paths[:2]]
    with pytest.raises(ZeroDivisionError):
        next(answers)


def test_memory_does_not_grow_with_the_number_of_images(model, paths):
    def peak(count):
        given = (Source(str(paths[0]), paths[0]) for _ in range(count))
        tracemalloc.start()
        for _ in classify_stream(model, given, Choice(1), batch_size=8):
            pass
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak_bytes

    peak(50)
    assert peak(3_000) - peak(300) < 2_700 * 100  # bytes; an answer kept takes more
