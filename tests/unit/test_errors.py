from alexnet_cli.errors import first_line, join_some


def test_the_first_line_of_an_exception():
    assert first_line(ValueError("  one\ntwo")) == "one"
    assert first_line(MemoryError()) == "MemoryError"


def test_some_names_and_a_count_of_the_others():
    assert join_some(["a", "b"]) == "a, b"
    assert join_some(list("abcdefg")) == "a, b, c, d, e and 2 more"
    assert join_some(list("abc"), limit=1, separator="; ") == "a and 2 more"
