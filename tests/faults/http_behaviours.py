"""The right and wrong behaviours of the server in `http_server`, by name.

Each answers every request for its path; `number` counts the requests before. "Right" keeps all
rules of HTTP: ranges, `If-Range`, validators.
"""

import datetime
import gzip
from dataclasses import replace
from email.utils import format_datetime

from tests.faults.http_server import Answer

OVER_TLS = frozenset({"tls", "https-to-http", "https-to-https"})
_HTML = "<!DOCTYPE html><html><body>Please log in</body></html>"


def as_seen_from(behaviour, version):
    """Return a version with the validators that a server of that behaviour sends."""
    validators = version.validators
    kept = {
        "date-only": {"Last-Modified": validators["Last-Modified"]},
        "weak-etag": {"ETag": f"W/{validators['ETag']}"},
        "no-etag": {},
    }
    return replace(version, validators=kept.get(behaviour, validators))


def chunked(answer):
    changes = {"Content-Length": None, "Transfer-Encoding": "chunked"}
    body = answer.begin_version(answer.right, changes=changes)
    for begin in range(0, len(body), 10_000):
        answer.send_piece(body[begin : begin + 10_000], chunked=True)
    answer.wfile.write(b"0\r\n\r\n")


def held(answer):  # after half of the file, until the test releases the rest
    body = answer.begin_version(answer.right)
    rest = answer.total - answer.total // 2
    answer.send_body(body[:-rest])
    answer.server.ledger.released.wait()
    answer.send_body(body[-rest:])


def truncated(answer):  # announces all, and never has the last quarter
    begin = answer.total - len(answer.begin_version(answer.right))
    answer.send_body(answer.right.content[begin : max(begin, 3 * answer.total // 4)])


def reset(answer, *, ranges=True):  # each time after a third of the file
    answer.send_version(answer.right, ranges=ranges, num_bytes=answer.third)
    answer.send_rst()


def silent_midway(answer):  # each time after a third of the file
    answer.send_version(answer.right, num_bytes=answer.third)
    answer.wait(600)


def drip(answer):
    for byte in answer.begin_version(answer.right):
        answer.send_piece(bytes([byte]))
        answer.wait(0.02)


def wrong_206_offset(answer):  # and says so
    start, total = answer.start // 2, answer.total
    body = answer.right.content[start:]
    headers = {"Content-Range": f"bytes {start}-{total - 1}/{total}", "Content-Length": len(body)}
    answer.send_head(206, headers | answer.right.validators)
    answer.send_body(body)


def lying_206(answer):  # another range, called the right one
    body = answer.begin_version(answer.right)
    answer.send_body(answer.right.content[: len(body)])


def ignores_if_range(answer):
    del answer.headers["If-Range"]
    answer.send_right()


def unless_range(respond):
    """Be right unless a range is asked for."""
    return lambda answer: answer.send_right() if answer.start is None else respond(answer)


def once(respond):
    """Be wrong at the first request."""
    return lambda answer: answer.send_right() if answer.number else respond(answer)


def status(code, **headers):
    return lambda answer: answer.send_text(code, "sorry", headers)


def status_503_until_a_date(answer):
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)
    answer.send_text(503, "sorry", {"Retry-After": format_datetime(until, usegmt=True)})


def page(content_type):
    return lambda answer: answer.send_text(200, _HTML, {"Content-Type": content_type})


def redirect(url):
    return lambda answer: answer.send_text(302, "", {"Location": url.format(answer)})


def changed(answer):  # after a third of the right file, another one for good
    if answer.number == 0 and answer.start is None:
        answer.send_version(answer.right, num_bytes=answer.third)
    else:
        answer.send_version(answer.other)


def changed_back(answer, *, notice=True):  # after a third of another file, the right one for good
    if answer.number == 0:
        answer.send_version(answer.other, num_bytes=answer.third)
    else:
        answer.send_right() if notice else ignores_if_range(answer)


def compressed(answer):  # which nobody asked for
    body = gzip.compress(answer.right.content, 1)
    answer.send_head(200, {"Content-Encoding": "gzip", "Content-Length": len(body)})
    answer.send_body(body)


def endless(answer, body=b"", *, code=200, chunked=False, **headers):
    answer.send_head(code, headers)
    answer.send_body(body)
    while True:
        answer.send_piece(b"\1" * 4_096, chunked=chunked)


def broken_chunks(answer):  # no number where that of the second chunk should be
    answer.send_head(200, {"Transfer-Encoding": "chunked"})
    answer.send_piece(answer.right.content[: answer.third], chunked=True)
    answer.wfile.write(b"no number\r\n")


BEHAVIOURS = {
    # Right, each in another way.
    "right": Answer.send_right,
    "tls": Answer.send_right,
    "date-only": lambda a: a.send_version(as_seen_from("date-only", a.right)),
    "weak-etag": lambda a: a.send_version(as_seen_from("weak-etag", a.right)),  # not for ranges
    "no-etag": lambda a: a.send_version(as_seen_from("no-etag", a.right)),
    "mislabelled": lambda a: a.send_right({"Content-Encoding": "gzip"}),  # as many do with .gz
    "no-length": lambda a: a.send_right({"Content-Length": None}),
    "chunked": chunked,
    "held": held,
    "redirect": redirect("/right/{0.name}"),
    # Connections that break off or stall.
    "short-body": lambda a: a.send_version(a.right, num_bytes=a.third),  # announces all
    "truncated": truncated,
    "reset": reset,
    "reset-without-ranges": lambda a: reset(a, ranges=False),
    "reset-at-once": Answer.send_rst,
    "silent": lambda a: a.wait(600),
    "silent-midway": silent_midway,
    "drip": drip,
    # Ranges gone wrong.
    "wrong-206-offset": unless_range(wrong_206_offset),
    "lying-206": lying_206,
    "wrong-206-total": unless_range(lambda a: a.send_right(a.content_range(a.total + 1))),
    "unknown-206-total": unless_range(lambda a: a.send_right(a.content_range("*"))),  # allowed
    "no-content-range": lambda a: a.send_right({"Content-Range": None}),
    "ignores-range": lambda a: a.send_version(a.right, ranges=False),
    "ignores-if-range": ignores_if_range,
    "status-416": unless_range(Answer.send_416),
    # Refusals, temporary or for good.
    "status-429-once": once(status(429, **{"Retry-After": "1"})),
    "status-429": status(429, **{"Retry-After": "1"}),
    "status-503-once": once(status_503_until_a_date),
    "status-503": status(503),
    "status-503-for-a-day": status(503, **{"Retry-After": "86400"}),
    "status-503-nonsense": once(status(503, **{"Retry-After": "soon"})),
    "status-404": status(404),
    "status-503-for-aeons": status(503, **{"Retry-After": "9" * 5_000}),
    "status-500-once": once(status(500)),
    # Another thing than the file.
    "wrong-bytes": lambda a: a.send_version(replace(a.right, content=a.other.content)),
    "too-long": lambda a: a.send_version(replace(a.right, content=a.right.content + b"\0")),
    "too-small": lambda a: a.send_version(replace(a.right, content=a.right.content[:-1])),
    "empty": lambda a: a.send_text(200, ""),
    "changed": changed,
    "changed-back": changed_back,
    "changed-back-unnoticed": lambda a: changed_back(a, notice=False),  # whatever If-Range says
    "compressed": compressed,
    "html": page("text/html; charset=utf-8"),  # with status 200, as hotels do
    "html-untyped": page("application/octet-stream"),
    "endless": endless,
    "endless-chunked": lambda a: endless(a, chunked=True, **{"Transfer-Encoding": "chunked"}),
    "endless-after": lambda a: endless(a, a.right.content),
    "broken-chunks": broken_chunks,
    "not-http": lambda a: a.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n" * 20),
    # Redirects gone wrong.
    "redirect-loop": redirect("{0.path}"),
    "endless-redirect": lambda a: endless(a, code=302, Location=f"/right/{a.name}"),
    "redirect-nowhere": redirect("http://[::1"),
    "https-to-https": redirect("/right/{0.name}"),
    "https-to-http": redirect("{0.server.plain_url}/right/{0.name}"),  # only TLS is asked
    "redirect-to-a-file": redirect("file:///etc/passwd"),
}
