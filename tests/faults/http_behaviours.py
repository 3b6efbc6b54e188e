"""The right and wrong behaviours of the server in `http_server`, by name.

Each answers every request for its path; `number` counts the requests before. "Right" keeps all
rules of HTTP: ranges, `If-Range`, validators.
"""

import datetime
import gzip
from dataclasses import replace
from email.utils import format_datetime

from tests.faults.http_server import Answer, Version

OVER_TLS = frozenset({"tls", "https-to-http", "https-to-https"})
_HTML = "<!DOCTYPE html><html><body>Please log in</body></html>"


def as_seen_from(behaviour: str, version: Version) -> Version:
    """Return a version with the validators that a server of that behaviour sends."""
    validators = version.validators
    kept = {
        "date-only": {"Last-Modified": validators["Last-Modified"]},
        "weak-etag": {"ETag": f"W/{validators['ETag']}"},
        "no-etag": {},
    }
    return replace(version, validators=kept.get(behaviour, validators))


class _Parts(Answer):
    """What several behaviours share."""

    @property
    def third(self) -> int:
        return len(self.server.right.content) // 3 + 1

    def send_right(self, **changes: object) -> None:
        """Respond correctly except for some headers."""
        renamed = {name.replace("_", "-"): value for name, value in changes.items()}
        self.send_body(self.begin_version(self.server.right, changes=renamed))

    def send_busy(self, status: int, retry_after: str | None) -> None:
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        self.send_text(status, "try later", headers)

    def redirect_to(self, url: str) -> None:
        self.send_text(302, "", {"Location": url})

    def send_range(self, content_range: str) -> None:
        """Respond to a request for a range with another `Content-Range` than the right one."""
        if self.start is None:
            self.send_right()
        else:
            total = len(self.server.right.content)
            numbers = {"start": self.start, "end": total - 1, "total": total}
            self.send_right(Content_Range=content_range.format(**numbers))

    def send_endlessly(self, *, chunked: bool = False) -> None:
        while True:
            self.send_piece(b"\1" * 4_096, chunked=chunked)


class Behaviours(_Parts):
    # Right, each in another way.

    def right(self) -> None:
        self.send_right()

    def tls(self) -> None:
        self.send_right()

    def date_only(self) -> None:
        self.send_version(as_seen_from("date-only", self.server.right))

    def weak_etag(self) -> None:  # which must not decide about ranges
        self.send_version(as_seen_from("weak-etag", self.server.right))

    def no_etag(self) -> None:
        self.send_version(as_seen_from("no-etag", self.server.right))

    def mislabelled(self) -> None:  # as many servers do with .gz
        self.send_right(Content_Encoding="gzip")

    def no_length(self) -> None:
        self.send_right(Content_Length=None)

    def chunked(self) -> None:
        changes = {"Content-Length": None, "Transfer-Encoding": "chunked"}
        body = self.begin_version(self.server.right, changes=changes)
        for begin in range(0, len(body), 10_000):
            self.send_piece(body[begin : begin + 10_000], chunked=True)
        self.wfile.write(b"0\r\n\r\n")

    def slow(self) -> None:
        self.send_body(self.begin_version(self.server.right), pause_seconds=0.02)

    def redirect(self) -> None:
        self.redirect_to(f"/right/{self.name}")

    # Connections that break off or stall.

    def short_body(self) -> None:  # announces all
        self.send_version(self.server.right, num_bytes=self.third)

    def truncated(self) -> None:  # announces all, and never has the last quarter
        content = self.server.right.content
        body = self.begin_version(self.server.right)
        begin = len(content) - len(body)
        self.send_body(content[begin : max(begin, 3 * len(content) // 4)])

    def reset(self) -> None:  # each time after a third of the file
        self.send_version(self.server.right, num_bytes=self.third)
        self.send_rst()

    def reset_without_ranges(self) -> None:
        self.send_version(self.server.right, ranges=False, num_bytes=self.third)
        self.send_rst()

    def reset_at_once(self) -> None:
        self.send_rst()

    def silent(self) -> None:
        self.wait(600)

    def silent_midway(self) -> None:  # each time after a third of the file
        self.send_version(self.server.right, num_bytes=self.third)
        self.wait(600)

    def drip(self) -> None:
        for byte in self.begin_version(self.server.right):
            self.send_piece(bytes([byte]))
            self.wait(0.02)

    # Ranges gone wrong.

    def wrong_206_offset(self) -> None:  # and says so
        if self.start is None:
            self.send_right()
            return
        content = self.server.right.content
        start, total = self.start // 2, len(content)
        body = content[start:]
        headers = {
            "Content-Range": f"bytes {start}-{total - 1}/{total}",
            "Content-Length": len(body),
            **self.server.right.validators,
        }
        self.send_head(206, headers)
        self.send_body(body)

    def lying_206(self) -> None:  # another range, called the right one
        body = self.begin_version(self.server.right)
        if self.start is not None:
            body = self.server.right.content[: len(body)]
        self.send_body(body)

    def wrong_206_total(self) -> None:
        total = len(self.server.right.content) + 1
        self.send_range("bytes {start}-{end}/" + str(total))

    def unknown_206_total(self) -> None:  # which is allowed
        self.send_range("bytes {start}-{end}/*")

    def no_content_range(self) -> None:
        self.send_right(Content_Range=None)

    def ignores_range(self) -> None:
        self.send_version(self.server.right, ranges=False)

    def ignores_if_range(self) -> None:
        del self.headers["If-Range"]
        self.send_right()

    def status_416(self) -> None:  # for every range
        if self.start is None:
            self.send_right()
        else:
            total = len(self.server.right.content)
            self.send_text(416, "", {"Content-Range": f"bytes */{total}"})

    # Refusals, temporary or for good.

    def status_429_once(self) -> None:
        self.send_right() if self.number else self.send_busy(429, "1")

    def status_429(self) -> None:
        self.send_busy(429, "1")

    def status_503_once(self) -> None:
        until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)
        date = format_datetime(until, usegmt=True)
        self.send_right() if self.number else self.send_busy(503, date)

    def status_503(self) -> None:
        self.send_busy(503, None)

    def status_503_for_a_day(self) -> None:
        self.send_busy(503, "86400")

    def status_503_nonsense(self) -> None:
        self.send_right() if self.number else self.send_busy(503, "soon")

    def status_404(self) -> None:
        self.send_text(404, "not found")

    def status_503_for_aeons(self) -> None:
        self.send_busy(503, "9" * 5_000)

    def status_500_once(self) -> None:
        self.send_right() if self.number else self.send_text(500, "sorry")

    # Another thing than the file.

    def wrong_bytes(self) -> None:  # as many as of the right file, with its validators
        self.send_version(replace(self.server.right, content=self.server.other.content))

    def too_long(self) -> None:  # and says so
        version = self.server.right
        self.send_version(replace(version, content=version.content + b"\0"))

    def too_small(self) -> None:  # and says so
        version = self.server.right
        self.send_version(replace(version, content=version.content[:-1]))

    def empty(self) -> None:
        self.send_text(200, "")

    def changed(self) -> None:  # after a third of the right file, another one for good
        if self.number == 0 and self.start is None:
            self.send_version(self.server.right, num_bytes=self.third)
        else:
            self.send_version(self.server.other)

    def changed_back(self) -> None:  # after a third of another file, the right one for good
        if self.number == 0:
            self.send_version(self.server.other, num_bytes=self.third)
        else:
            self.send_right()

    def changed_back_unnoticed(self) -> None:  # whatever `If-Range` says
        if self.number == 0:
            self.send_version(self.server.other, num_bytes=self.third)
        else:
            self.ignores_if_range()

    def compressed(self) -> None:  # which nobody asked for
        body = gzip.compress(self.server.right.content, 1)
        self.send_head(200, {"Content-Encoding": "gzip", "Content-Length": len(body)})
        self.send_body(body)

    def html(self) -> None:  # with status 200, as hotels do
        self.send_text(200, _HTML, {"Content-Type": "text/html; charset=utf-8"})

    def html_untyped(self) -> None:
        self.send_text(200, _HTML, {"Content-Type": "application/octet-stream"})

    def endless(self) -> None:
        self.send_head(200, {"Content-Type": "application/gzip"})
        self.send_endlessly()

    def endless_chunked(self) -> None:
        self.send_head(200, {"Transfer-Encoding": "chunked"})
        self.send_endlessly(chunked=True)

    def endless_after(self) -> None:  # after the right bytes
        self.send_head(200, {"Content-Type": "application/gzip"})
        self.send_body(self.server.right.content)
        self.send_endlessly()

    def broken_chunks(self) -> None:  # no number where that of the second chunk should be
        self.send_head(200, {"Transfer-Encoding": "chunked"})
        self.send_piece(self.server.right.content[: self.third], chunked=True)
        self.wfile.write(b"no number\r\n")

    def not_http(self) -> None:
        self.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n" * 20)

    # Redirects gone wrong.

    def redirect_loop(self) -> None:
        self.redirect_to(self.path)

    def endless_redirect(self) -> None:  # to the right place, with a page that has no end
        self.send_head(302, {"Location": f"/right/{self.name}"})
        self.send_endlessly()

    def redirect_nowhere(self) -> None:
        self.redirect_to("http://[::1")

    def https_to_https(self) -> None:
        self.redirect()

    def https_to_http(self) -> None:  # only the server with TLS is asked
        self.redirect_to(f"{self.server.plain_url}/right/{self.name}")

    def redirect_to_a_file(self) -> None:  # of the client's machine
        self.redirect_to("file:///etc/passwd")


BEHAVIOURS = [name.replace("_", "-") for name in vars(Behaviours) if not name.startswith("_")]
