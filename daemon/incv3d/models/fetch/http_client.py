"""Request a file from a web server: proxies, redirects, timeouts, and one-line errors."""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
from collections.abc import Iterator, Mapping
from urllib.parse import urljoin, urlsplit

import requests
import urllib3

from incv3d import __version__
from incv3d.config.address import Address
from incv3d.errors import one_line
from incv3d.models.entry import ModelError

CHUNK_BYTES = 1 << 16
MOST_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Statuses of a server that may succeed soon."""
AWAY = (errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN)


class DownloadError(ModelError):
    """The file is not available there."""


class UrlError(DownloadError):
    """Not a URL that can be fetched."""

    is_lasting = True


class UnreachableError(DownloadError):
    """There is no network, or the server does not answer."""


class BrokenError(Exception):
    """The connection was lost; another attempt may succeed."""


def check_url(url: str) -> None:
    """Raise UrlError unless `url` can be fetched."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        hint = Address(url).encoding_hint
        raise UrlError(
            f"`{Address(url)}` is not a URL like https://example.org/model.tgz{f'; {hint}' if hint else ''}"
        )


def redact(url: str) -> str:
    """Return `url` without secrets in it."""
    return str(Address(url))


@contextlib.contextmanager
def ask(
    session: requests.Session, url: str, headers: Mapping[str, str], connect_s: float, read_s: float
) -> Iterator[requests.Response]:
    """Send a GET request for `url` and yield the answer, with its body unread and status 200, 206 or 416.

    Redirects are followed to http and https only, and never from https to http. Proxies are those of the
    environment (``https_proxy``, ``no_proxy``).

    :raises UnreachableError: no connection was possible.
    :raises DownloadError: a permanent failure.
    :raises BrokenError: a temporary failure.
    """
    given = {"Accept-Encoding": "identity", "User-Agent": f"incv3d/{__version__}", **headers}
    for _ in range(MOST_REDIRECTS + 1):
        try:
            response = session.get(
                url, headers=given, stream=True, allow_redirects=False, timeout=(connect_s, read_s)
            )
        except requests.RequestException as error:
            raise _explained(error, url) from None
        except ValueError as error:  # from a redirect, which requests parses even if it does not follow it
            raise DownloadError(
                f"{redact(url)}: the request failed: {Address(url).hide(str(error))}"
            ) from None
        with response:
            if response.status_code in REDIRECTS:
                url = _redirected(url, response.headers.get("Location", ""))
                continue
            _check_status(response, url)
            yield response
            return
    raise DownloadError(f"{redact(url)}: redirected more than {MOST_REDIRECTS} times")


def read(response: requests.Response) -> bytes:
    """Return the next bytes of the body, undecoded; empty at its end.

    :raises BrokenError: the connection was lost, or no data came for too long.
    """
    try:
        # Unlike this, `iter_content` waits for a full chunk, however slowly it arrives.
        data: bytes = response.raw.read1(CHUNK_BYTES, decode_content=False)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise BrokenError(_reason(error)) from None
    return data


def _redirected(url: str, location: str) -> str:
    target = urljoin(url, location)
    try:
        check_url(target)
    except DownloadError:
        raise DownloadError(
            f"{redact(url)}: redirected to `{redact(location)}`, which is not supported"
        ) from None
    if urlsplit(url).scheme == "https" and urlsplit(target).scheme == "http":
        raise DownloadError(f"{redact(url)}: rejected: redirected from https to {redact(target)}")
    return target


def _check_status(response: requests.Response, url: str) -> None:
    status = f"the server answered {response.status_code} {response.reason or ''}".rstrip()
    if response.status_code in PASSING:
        raise BrokenError(status)
    if response.status_code not in (200, 206, 416):
        raise DownloadError(f"{redact(url)}: {status}")
    if response.headers.get("Content-Type", "").startswith("text/html") and response.status_code == 200:
        raise DownloadError(
            f"{redact(url)}: the server sent a web page instead of the file; "
            f"perhaps a login page or a proxy intercepts the request"
        )


def _explained(error: requests.RequestException, url: str) -> Exception:
    """Return the exception to raise for a request without an answer."""
    causes = list(_causes(error))
    reason = Address(url).hide(_reason(error))
    if isinstance(error, requests.exceptions.ProxyError):
        reason = f"the proxy: {reason}"
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return DownloadError(f"{redact(url)}: {reason}; is this machine's clock right?")
    if isinstance(error, ValueError):  # the family that requests uses for invalid URLs, including the proxy's
        return DownloadError(f"{redact(url)}: the request failed: {reason}")
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return UnreachableError(f"no network: {urlsplit(url).hostname} does not answer")
    if any(isinstance(cause, socket.gaierror) or getattr(cause, "errno", 0) in AWAY for cause in causes):
        return UnreachableError(f"no network: {urlsplit(url).hostname}: {reason}")
    return BrokenError(reason)


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _reason(error: BaseException) -> str:
    """Return the message of the innermost cause; the outer ones repeat it in brackets."""
    if isinstance(error, (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError)):
        return "no data arrived for too long"
    innermost = list(_causes(error))[-1]
    if isinstance(innermost, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {innermost.verify_message}"
    if isinstance(innermost, OSError) and innermost.strerror:
        return innermost.strerror
    if isinstance(innermost, urllib3.exceptions.IncompleteRead):
        return "the connection was lost"
    return one_line(innermost) or "the connection was lost"
