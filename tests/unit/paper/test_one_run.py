import pytest

from alexnet_cli.paper.runner import _error_in


@pytest.mark.parametrize(
    ("stderr", "error"),
    [
        ("", {}),
        ("7\n[1]\nnull\n{}\n", {}),
        ('{"error": 7}\n', {}),
        ("a warning\n" '{"error": {"code": "not_finite", "message": "m", "hint": null}}\n' "bye\n",
         {"code": "not_finite", "message": "m"}),
    ],
)  # fmt: skip
def test_the_error_is_found_among_other_lines(stderr, error):
    assert _error_in(stderr) == error
