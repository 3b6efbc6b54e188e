"""An HTTP session, and what its answers and failures mean for a file that is fetched."""

from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from alexnet_cli import __version__
from alexnet_cli.errors import DataError

_TEMPORARY = frozenset({408, 429, 500, 502, 503, 504})
_MAX_REDIRECTS = 5


class TransferError(Exception):
    """A server did not send the file.

    Attributes:
        temporary: Whether it may do so when asked again.
        wait_seconds: How long it asks to be left alone.
    """

    def __init__(
        self, reason: str, *, temporary: bool = False, wait_seconds: float | None = None
    ) -> None:
        super().__init__(reason)
        self.temporary, self.wait_seconds = temporary, wait_seconds


class DowngradeError(requests.RequestException):
    """A redirect from https to http."""


class Session(requests.Session):
    """Follows few redirects, and none from https to http."""

    def __init__(self) -> None:
        super().__init__()
        self.max_redirects = _MAX_REDIRECTS
        self.headers["Accept-Encoding"] = "identity"
        self.headers["User-Agent"] = f"alexnet/{__version__}"

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Return where an answer redirects to, if it does."""
        target = super().get_redirect_target(resp)
        schemes = [urlsplit(url).scheme for url in (resp.url, urljoin(resp.url, target or ""))]
        if schemes == ["https", "http"]:
            raise DowngradeError
        return target


def require_content(response: requests.Response) -> None:
    """Refuse an answer that does not hold a file.

    Raises:
        TransferError: It does not.
    """
    status, headers = response.status_code, response.headers
    if status in _TEMPORARY:
        wait = _retry_after(headers.get("Retry-After"))
        raise TransferError(f"the server answered {status}", temporary=True, wait_seconds=wait)
    if status not in (requests.codes.ok, requests.codes.partial_content):
        raise TransferError(f"the server answered {status}")
    if "html" in headers.get("Content-Type", ""):
        raise TransferError("the server sent a web page")


def validator(response: requests.Response) -> str | None:
    """Return what names the version for If-Range: a strong ETag, else the time of the change."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def _retry_after(value: str | None) -> float | None:
    try:
        return urllib3.Retry().parse_retry_after(value) if value else None
    except urllib3.exceptions.InvalidHeader:
        return None


def in_words(error: Exception) -> TransferError:
    """Describe what requests or urllib3 met."""
    permanent = (
        (DowngradeError, "it redirects from https to http, which anybody could read and change"),
        (requests.exceptions.TooManyRedirects, f"more than {_MAX_REDIRECTS} redirects"),
        (requests.exceptions.SSLError, "its certificate is not trusted"),
        (requests.exceptions.InvalidSchema, "only http and https addresses can be fetched"),
        (ValueError, "the address is not valid"),  # requests' InvalidURL and MissingSchema
    )
    for kind, reason in permanent:
        if isinstance(error, kind):
            return TransferError(reason)
    timed_out = (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError)
    if isinstance(error, timed_out):
        return TransferError("the server did not answer in time", temporary=True)
    broken = (requests.exceptions.ChunkedEncodingError, urllib3.exceptions.HTTPError)
    if isinstance(error, broken):
        return TransferError("the connection broke off", temporary=True)
    return TransferError("no connection to the server", temporary=True)


def without_password(url: str) -> str:
    """Return an address as it may be shown.

    Raises:
        DataError: It cannot be read as an address.
    """
    try:
        parts = urlsplit(url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    except ValueError as error:
        raise DataError(f"not an address: {url!r}", hint="check --mirror", code="url") from error
