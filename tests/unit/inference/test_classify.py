import subprocess
import sys
import threading
import time
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from alexnet_cli.errors import AlexnetError, DataError
from alexnet_cli.image import prepare_image
from alexnet_cli.inference import Classifier
from alexnet_cli.inference.classify import LATEST_SECONDS, Choice, classify_one, classify_stream
from alexnet_cli.inference.inputs import Source


def sources_of(paths):
    return [Source(str(path), path) for path in paths]


def one(model, path, **choice):
    return classify_one(model, Source(str(path), path), Choice(**choice))


def stream(model, paths, **options):
    return list(classify_stream(model, sources_of(paths), Choice(), **options))


@pytest.mark.parametrize(("top_k", "expected"), [(1, 1), (3, 3), (5, 5), (99, 5)])
def test_the_most_probable_classes_come_first(model, paths, top_k, expected):
    crop = prepare_image(paths[0], image_size_px=12, crop_size_px=8)
    probabilities_K = model.probabilities(crop[None])[0]
    prediction = one(model, paths[0], top_k=top_k)
    assert len(prediction.top) == expected
    assert prediction.best == prediction.top[0]
    shares = [found.probability for found in prediction.top]
    assert shares == pytest.approx(sorted(probabilities_K, reverse=True)[:expected], abs=1e-6)
    for found in prediction.top:
        assert found.name == model.manifest.classes[found.index]
        assert found.probability == pytest.approx(probabilities_K[found.index], abs=1e-6)


def test_only_classes_of_at_least_the_threshold_are_named(model, paths):
    shares = [c.probability for c in one(model, paths[0]).top]
    named = one(model, paths[0], threshold=shares[1]).top
    assert [c.probability for c in named] == shares[:2]
    nothing = one(model, paths[0], threshold=np.nextafter(shares[0], 2))
    assert (nothing.top, nothing.best, nothing.error) == ((), None, None)


def test_equal_probabilities_come_in_the_order_of_classes(model):
    found = Choice(3).predict("x", np.array([0.1, 0.3, 0.1, 0.3, 0.2], np.float32), model)
    assert [c.index for c in found.top] == [1, 3, 4]


def test_an_unreadable_image_has_its_error(model, tmp_path):
    first, _ = stream(model, [tmp_path / "a.png", tmp_path / "b.png"])
    assert first.error.code == "image_missing"
    with pytest.raises(DataError, match="no such image"):
        _ = first.best
    error = DataError("none there")  # of the search for images
    assert classify_one(model, Source("x", error=error), Choice()).error is error


@pytest.mark.parametrize("batch_size", [1, 3, 32])
@pytest.mark.parametrize("num_threads", [1, 4])
def test_each_image_of_a_stream_gets_its_own_answer_in_order(
    model, paths, tmp_path, batch_size, num_threads
):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    # The small ones are decoded long before the large ones.
    arrays = [
        Source(str(number), np.full((side, side, 3), 10 * number, np.uint8))
        for number, side in enumerate([1500, 9, 9, 1200, 9] * 4)
    ]
    sources = [*arrays[:10], *sources_of([broken, *paths]), *arrays[10:]]
    options = {"batch_size": batch_size, "num_threads": num_threads}
    found = list(classify_stream(model, sources, Choice(), **options))
    assert [prediction.source for prediction in found] == [source.name for source in sources]
    for prediction, source in zip(found, sources, strict=True):
        assert (prediction.error is not None) == (prediction.source == str(broken))
        alone = {each.index: each.probability for each in classify_one(model, source, Choice()).top}
        together = {each.index: each.probability for each in prediction.top}
        assert list(together) == list(alone)
        assert together == pytest.approx(alone, abs=1e-5)
    assert len({p.top[0].name for p in found if p.top}) > 1


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
    assert peak(1_300) - peak(300) < 1_000 * 250  # bytes; an answer kept takes more


@pytest.fixture(scope="module")
def classify(exported):
    return Classifier(exported.whole / "model.onnx", device="cpu", top_k=2)


def test_every_kind_of_image_has_the_same_answer(classify, paths):
    path = paths[0]
    pixels = np.asarray(Image.open(path))
    answers = classify([path, str(path), path.read_bytes(), pixels, Image.open(path)])
    assert len({answer.top for answer in answers}) == 1
    assert [answer.source for answer in answers] == [str(path), str(path), "#2", "#3", "#4"]
    (alone,) = classify(pixels)
    assert alone.best.index == answers[0].best.index
    assert alone.best.name == classify.classes[alone.best.index]


def test_an_array_of_images_and_a_generator(classify, paths):
    images = np.random.default_rng(0).integers(0, 256, (3, 12, 12, 3), np.uint8)
    assert [p.source for p in classify(images)] == ["#0", "#1", "#2"]
    assert [p.source for p in classify(path for path in paths)] == [str(path) for path in paths]
    assert classify([]) == []
    assert [answer.error for answer in classify([Image.new("RGBA", (20, 30))])] == [None]
    assert next(classify.stream(iter(paths))).source == str(paths[0])


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((9, 9, 3)),
        np.zeros((9, 9, 4), np.uint8),
        np.zeros((0, 9, 3), np.uint8),
        np.zeros(9, np.uint8),
        np.zeros((9, 9), bool),
        Image.new("RGB", (0, 9)),
        b"no image",
    ],
    ids=["float", "alpha", "empty", "line", "bool", "empty PIL", "bytes"],
)
def test_pixels_that_are_not_an_image_are_an_error_of_their_own(classify, image):
    broken, whole = classify([image, np.zeros((9, 9), np.uint8)])
    assert broken.error.code == "image_unreadable"
    assert "#0" in broken.error.message
    assert whole.error is None


def test_another_kind_of_object_is_a_type_error(classify):
    with pytest.raises(TypeError, match="#1 is of type int"):
        classify([np.zeros((9, 9), np.uint8), 7])


def test_a_model_is_a_file_or_a_folder_with_one(exported, tmp_path):
    assert Classifier(exported.whole).provider.endswith("ExecutionProvider")
    with pytest.raises(AlexnetError, match="no such model"):
        Classifier(tmp_path / "x.onnx")


def test_the_package_loads_nothing_before_it_is_used():
    script = "import sys, alexnet_cli.inference; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"numpy", "PIL", "onnxruntime", "torch", "typer", "pydantic"} & set(loaded)
