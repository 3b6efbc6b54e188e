"""What the server in `http_server` can do right and wrong, by name.

A behaviour answers every request for its path; where it depends on how many came before, that is
said. "Right" is an answer that keeps all rules: ranges, `If-Range`, validators.
"""

import datetime
import gzip
from dataclasses import replace
from email.utils import format_datetime

from tests.faults.http_server import Answer, Behaviour, Version

OVER_TLS = frozenset({"tls", "https-to-http", "https-to-https"})
_HTML = "<!DOCTYPE html><html><body>Please log in</body></html>"
BEHAVIOURS: dict[str, Behaviour] = {}


def _behaviour(function: Behaviour) -> Behaviour:
    BEHAVIOURS[function.__name__.replace("_", "-")] = function
    return function


def _third(answer: Answer) -> int:
    return len(answer.server.right.content) // 3 + 1


def _ordinary(answer: Answer, **changes: object) -> None:
    """Answer rightly, but for some headers."""
    renamed = {name.replace("_", "-"): value for name, value in changes.items()}
    answer.send_body(answer.begin_version(answer.server.right, changes=renamed))


def as_told_by(behaviour: str, version: Version) -> Version:
    """Return a version with no more to tell it by than a server of that behaviour says."""
    date = version.validators["Last-Modified"]
    kept = {
        "date-only": {"Last-Modified": date},
        "weak-etag": {"ETag": f"W/{version.validators['ETag']}"},
        "no-etag": {},
    }
    return replace(version, validators=kept.get(behaviour, version.validators))


# Servers that are right, each in another way.


@_behaviour
def right(answer: Answer) -> None:
    """Keep all rules, with a strong ETag and a date."""
    answer.send_version(answer.server.right)


@_behaviour
def tls(answer: Answer) -> None:
    """Be right over TLS."""
    right(answer)


@_behaviour
def date_only(answer: Answer) -> None:
    """Tell versions apart by their date alone."""
    answer.send_version(as_told_by("date-only", answer.server.right))


@_behaviour
def weak_etag(answer: Answer) -> None:
    """Have a weak ETag alone, which must not decide about ranges."""
    answer.send_version(as_told_by("weak-etag", answer.server.right))


@_behaviour
def no_etag(answer: Answer) -> None:
    """Have nothing that tells versions apart."""
    answer.send_version(as_told_by("no-etag", answer.server.right))


@_behaviour
def mislabelled(answer: Answer) -> None:
    """Call the file's own compression one for the transfer, as many servers do with .gz."""
    _ordinary(answer, Content_Encoding="gzip")


@_behaviour
def no_length(answer: Answer) -> None:
    """Send the right bytes and end; no length is announced."""
    _ordinary(answer, Content_Length=None)


@_behaviour
def chunked(answer: Answer) -> None:
    """Send the right bytes in chunks."""
    body = answer.begin_version(
        answer.server.right, changes={"Content-Length": None, "Transfer-Encoding": "chunked"}
    )
    for begin in range(0, len(body), 10_000):
        answer.send_piece(body[begin : begin + 10_000], chunked=True)
    answer.wfile.write(b"0\r\n\r\n")


@_behaviour
def slow(answer: Answer) -> None:
    """Take its time, but get there."""
    body = answer.begin_version(answer.server.right)
    answer.send_body(body, pause_seconds=0.02)


@_behaviour
def redirect(answer: Answer) -> None:
    """Point to the right place."""
    answer.send_text(302, "", {"Location": f"/right/{answer.name}"})


# Connections that break off or stall.


@_behaviour
def short_body(answer: Answer) -> None:
    """Announce all, and end after a third of the file, every time."""
    answer.send_version(answer.server.right, num_bytes=_third(answer))


@_behaviour
def truncated(answer: Answer) -> None:
    """Announce all, and have no more than the first three quarters of the file."""
    content = answer.server.right.content
    body = answer.begin_version(answer.server.right)
    begin = len(content) - len(body)
    answer.send_body(content[begin : max(begin, 3 * len(content) // 4)])


@_behaviour
def reset(answer: Answer) -> None:
    """Reset the connection after a third of the file, every time."""
    answer.send_version(answer.server.right, num_bytes=_third(answer))
    answer.reset()


@_behaviour
def reset_without_ranges(answer: Answer) -> None:
    """Know no ranges, and reset the connection after a third of the file, every time."""
    answer.send_version(answer.server.right, ranges=False, num_bytes=_third(answer))
    answer.reset()


@_behaviour
def reset_at_once(answer: Answer) -> None:
    """Reset the connection without a word, every time."""
    answer.reset()


@_behaviour
def silent(answer: Answer) -> None:
    """Never answer."""
    answer.wait(600)


@_behaviour
def silent_midway(answer: Answer) -> None:
    """Fall silent after a third of the file, every time."""
    answer.send_version(answer.server.right, num_bytes=_third(answer))
    answer.wait(600)


@_behaviour
def drip(answer: Answer) -> None:
    """Send a byte at a time, for ever."""
    for byte in answer.begin_version(answer.server.right):
        answer.send_piece(bytes([byte]))
        answer.wait(0.02)


@_behaviour
def drip_header(answer: Answer) -> None:
    """Send a header a byte at a time, for ever."""
    answer.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        answer.wfile.write(b"x")
        answer.wait(0.02)


@_behaviour
def drip_chunk_head(answer: Answer) -> None:
    """Send what stands before a chunk a byte at a time, for ever."""
    answer.send_head(200, {"Transfer-Encoding": "chunked"})
    answer.wfile.write(b"1;")
    while True:
        answer.wfile.write(b"x")
        answer.wait(0.02)


# Ranges gone wrong.


def _shifted(answer: Answer, header: str) -> None:
    """Answer a request for a range with another `Content-Range` than the right one."""
    if answer.start is None:
        right(answer)
        return
    total = len(answer.server.right.content)
    _ordinary(answer, Content_Range=header.format(start=answer.start, end=total - 1, total=total))


@_behaviour
def wrong_206_offset(answer: Answer) -> None:
    """Send another range than asked for, and say so."""
    if answer.start is None:
        right(answer)
        return
    content = answer.server.right.content
    start, total = answer.start // 2, len(content)
    body = content[start:]
    numbers = {"Content-Range": f"bytes {start}-{total - 1}/{total}", "Content-Length": len(body)}
    answer.send_head(206, numbers | dict(answer.server.right.validators))
    answer.send_body(body)


@_behaviour
def lying_206(answer: Answer) -> None:
    """Send another range than asked for, and claim the right one."""
    body = answer.begin_version(answer.server.right)
    if answer.start is not None:
        body = answer.server.right.content[: len(body)]
    answer.send_body(body)


@_behaviour
def wrong_206_total(answer: Answer) -> None:
    """Announce another size with the range."""
    total = len(answer.server.right.content) + 1
    _shifted(answer, "bytes {start}-{end}/" + str(total))


@_behaviour
def unknown_206_total(answer: Answer) -> None:
    """Announce no size with the range, which is allowed."""
    _shifted(answer, "bytes {start}-{end}/*")


@_behaviour
def no_content_range(answer: Answer) -> None:
    """Send a range without saying which."""
    _ordinary(answer, Content_Range=None)


@_behaviour
def ignores_range(answer: Answer) -> None:
    """Send the whole file whatever is asked for."""
    answer.send_version(answer.server.right, ranges=False)


@_behaviour
def ignores_if_range(answer: Answer) -> None:
    """Send the range asked for, of whatever version it has."""
    del answer.headers["If-Range"]
    right(answer)


@_behaviour
def status_416(answer: Answer) -> None:
    """Refuse every range."""
    if answer.start is None:
        right(answer)
    else:
        total = len(answer.server.right.content)
        answer.send_text(416, "", {"Content-Range": f"bytes */{total}"})


# Refusals, for a time or for ever.


def _busy(answer: Answer, status: int, wait: str | None) -> None:
    answer.send_text(status, "try later", {} if wait is None else {"Retry-After": wait})


@_behaviour
def status_429_once(answer: Answer) -> None:
    """Be busy for a second, then right."""
    if answer.number == 0:
        _busy(answer, 429, "1")
    else:
        right(answer)


@_behaviour
def status_429(answer: Answer) -> None:
    """Be busy for ever."""
    _busy(answer, 429, "1")


@_behaviour
def status_503_once(answer: Answer) -> None:
    """Be unavailable until a date a second or two ahead, then right."""
    if answer.number == 0:
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)
        _busy(answer, 503, format_datetime(until, usegmt=True))
    else:
        right(answer)


@_behaviour
def status_503(answer: Answer) -> None:
    """Be unavailable for ever, without saying for how long."""
    _busy(answer, 503, None)


@_behaviour
def status_503_for_a_day(answer: Answer) -> None:
    """Ask to come back tomorrow."""
    _busy(answer, 503, "86400")


@_behaviour
def status_503_nonsense(answer: Answer) -> None:
    """Ask to come back at no time, once."""
    if answer.number == 0:
        _busy(answer, 503, "soon")
    else:
        right(answer)


@_behaviour
def status_404(answer: Answer) -> None:
    """Have no such file."""
    answer.send_text(404, "not found")


@_behaviour
def status_503_for_aeons(answer: Answer) -> None:
    """Ask to come back after a number of seconds with 5,000 digits."""
    _busy(answer, 503, "9" * 5_000)


@_behaviour
def status_500_once(answer: Answer) -> None:
    """Fail once, then be right."""
    if answer.number == 0:
        answer.send_text(500, "sorry")
    else:
        right(answer)


# Another thing than the file.


@_behaviour
def wrong_bytes(answer: Answer) -> None:
    """Send other bytes, as many as of the right file and with its validators."""
    answer.send_version(Version(answer.server.other.content, answer.server.right.validators))


@_behaviour
def too_long(answer: Answer) -> None:
    """Announce and send a byte too many."""
    version = answer.server.right
    answer.send_version(replace(version, content=version.content + b"\0"))


@_behaviour
def too_small(answer: Answer) -> None:
    """Announce and send a byte too few."""
    version = answer.server.right
    answer.send_version(replace(version, content=version.content[:-1]))


@_behaviour
def empty(answer: Answer) -> None:
    """Announce and send nothing."""
    answer.send_text(200, "")


@_behaviour
def changed(answer: Answer) -> None:
    """Send a third of the right file, then have another one for good."""
    if answer.number == 0 and answer.start is None:
        answer.send_version(answer.server.right, num_bytes=_third(answer))
    else:
        answer.send_version(answer.server.other)


@_behaviour
def changed_back(answer: Answer) -> None:
    """Send a third of another file, then have the right one for good."""
    if answer.number == 0:
        answer.send_version(answer.server.other, num_bytes=_third(answer))
    else:
        right(answer)


@_behaviour
def changed_back_unnoticed(answer: Answer) -> None:
    """Send a third of another file, then the rest of the right one, whatever `If-Range` says."""
    if answer.number == 0:
        answer.send_version(answer.server.other, num_bytes=_third(answer))
    else:
        ignores_if_range(answer)


@_behaviour
def compressed(answer: Answer) -> None:
    """Compress the file for the transfer, which nobody asked for."""
    body = gzip.compress(answer.server.right.content, 1)
    answer.send_head(200, {"Content-Encoding": "gzip", "Content-Length": len(body)})
    answer.send_body(body)


@_behaviour
def html(answer: Answer) -> None:
    """Send a page with status 200, as hotels do."""
    answer.send_text(200, _HTML, {"Content-Type": "text/html; charset=utf-8"})


@_behaviour
def html_untyped(answer: Answer) -> None:
    """Send a page with status 200, and call it a file."""
    answer.send_text(200, _HTML, {"Content-Type": "application/octet-stream"})


@_behaviour
def endless(answer: Answer) -> None:
    """Send bytes without length or end."""
    answer.send_head(200, {"Content-Type": "application/gzip"})
    while True:
        answer.send_piece(b"\1" * 4_096)


@_behaviour
def endless_chunked(answer: Answer) -> None:
    """Send chunks without end."""
    answer.send_head(200, {"Transfer-Encoding": "chunked"})
    while True:
        answer.send_piece(b"\1" * 4_096, chunked=True)


@_behaviour
def endless_after(answer: Answer) -> None:
    """Send the right bytes, and others after them without end."""
    answer.send_head(200, {"Content-Type": "application/gzip"})
    answer.send_body(answer.server.right.content)
    while True:
        answer.send_piece(b"\1" * 4_096)


@_behaviour
def broken_chunks(answer: Answer) -> None:
    """Send a third of the file in a chunk, and no number where that of the next one should be."""
    answer.send_head(200, {"Transfer-Encoding": "chunked"})
    answer.send_piece(answer.server.right.content[: _third(answer)], chunked=True)
    answer.wfile.write(b"no number\r\n")


@_behaviour
def not_http(answer: Answer) -> None:
    """Speak another language."""
    answer.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n" * 20)


# Redirects gone wrong.


@_behaviour
def redirect_loop(answer: Answer) -> None:
    """Point to itself."""
    answer.send_text(302, "", {"Location": answer.path})


@_behaviour
def endless_redirect(answer: Answer) -> None:
    """Point to the right place, with a page that has no end."""
    answer.send_head(302, {"Location": f"/right/{answer.name}"})
    while True:
        answer.send_piece(b"x" * 4_096)


@_behaviour
def redirect_nowhere(answer: Answer) -> None:
    """Point to what is no address."""
    answer.send_text(302, "", {"Location": "http://[::1"})


@_behaviour
def https_to_https(answer: Answer) -> None:
    """Point from TLS to TLS."""
    redirect(answer)


@_behaviour
def https_to_http(answer: Answer) -> None:
    """Point from TLS to the right file without it; only the server with TLS is asked."""
    answer.send_text(302, "", {"Location": f"{answer.server.plain_url}/right/{answer.name}"})


@_behaviour
def redirect_to_a_file(answer: Answer) -> None:
    """Point to a file of the client's machine."""
    answer.send_text(302, "", {"Location": "file:///etc/passwd"})
