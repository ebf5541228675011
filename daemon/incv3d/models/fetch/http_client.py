"""Ask a web server for a file: proxies, redirects, time limits, and what went wrong in one line."""

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
from incv3d.models.entry import ModelError

CHUNK_BYTES = 1 << 16
MOST_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Statuses of a server that may answer better in a moment."""
AWAY = (errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN)


class DownloadError(ModelError):
    """The file cannot be had from there."""


class UnreachableError(DownloadError):
    """There is no network, or nobody answers at that address."""


class BrokenError(Exception):
    """It broke off; another attempt may go better."""


def check_url(url: str) -> None:
    """Raise DownloadError unless `url` is one that a file can be fetched from."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        hint = Address(url).encoding_hint
        raise DownloadError(
            f"`{Address(url)}` is not like https://example.org/model.tgz{f'; {hint}' if hint else ''}"
        )


def shown(url: str) -> str:
    """`url` without the secrets that may stand in it."""
    return str(Address(url))


@contextlib.contextmanager
def ask(
    session: requests.Session, url: str, headers: Mapping[str, str], connect_s: float, read_s: float
) -> Iterator[requests.Response]:
    """GET `url`; the answer, its body still to be read, with status 200, 206 or 416.

    Redirects are followed to http and https only, and never from https down to http. Proxies are those of
    the environment (``https_proxy``, ``no_proxy``).

    :raises UnreachableError: nobody could be connected to.
    :raises DownloadError: an answer that will not change.
    :raises BrokenError: a failure that may pass.
    """
    given = {"Accept-Encoding": "identity", "User-Agent": f"incv3d/{__version__}", **headers}
    for _ in range(MOST_REDIRECTS + 1):
        try:
            response = session.get(
                url, headers=given, stream=True, allow_redirects=False, timeout=(connect_s, read_s)
            )
        except requests.RequestException as error:
            raise _explained(error, url) from None
        except ValueError as error:  # of a redirect, which requests looks into though it need not follow
            raise DownloadError(
                f"{shown(url)}: cannot be asked for: {Address(url).hide(str(error))}"
            ) from None
        with response:
            if response.status_code in REDIRECTS:
                url = _redirected(url, response.headers.get("Location", ""))
                continue
            _check_status(response, url)
            yield response
            return
    raise DownloadError(f"{shown(url)}: redirected more than {MOST_REDIRECTS} times")


def read(response: requests.Response) -> bytes:
    """The next bytes of the body, as they were sent; empty at its end.

    :raises BrokenError: when it breaks off, or nothing comes for too long.
    """
    try:
        # Not `iter_content`, which waits for a full chunk however slowly it trickles in.
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
            f"{shown(url)}: redirected to `{shown(location)}`, which is not fetched"
        ) from None
    if urlsplit(url).scheme == "https" and urlsplit(target).scheme == "http":
        raise DownloadError(f"{shown(url)}: redirected from https to {shown(target)}; refused")
    return target


def _check_status(response: requests.Response, url: str) -> None:
    status = f"the server says {response.status_code} {response.reason or ''}".rstrip()
    if response.status_code in PASSING:
        raise BrokenError(status)
    if response.status_code not in (200, 206, 416):
        raise DownloadError(f"{shown(url)}: {status}")
    if response.headers.get("Content-Type", "").startswith("text/html") and response.status_code == 200:
        raise DownloadError(
            f"{shown(url)}: a web page came instead of the file; "
            f"is there a login page, or a proxy, between here and there?"
        )


def _explained(error: requests.RequestException, url: str) -> Exception:
    """What is raised of a request that got no answer."""
    causes = list(_causes(error))
    reason = Address(url).hide(_reason(error))
    if isinstance(error, requests.exceptions.ProxyError):
        reason = f"the proxy: {reason}"
    if any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes):
        return DownloadError(f"{shown(url)}: {reason}; is this machine's clock right?")
    if isinstance(error, ValueError):  # requests' family of URLs that are none, of the proxy's too
        return DownloadError(f"{shown(url)}: cannot be asked for: {reason}")
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
    """The innermost cause in its own words: the outer ones repeat it in brackets."""
    if isinstance(error, (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError)):
        return "nothing came for too long"
    innermost = list(_causes(error))[-1]
    if isinstance(innermost, ssl.SSLCertVerificationError):
        return f"its certificate cannot be trusted: {innermost.verify_message}"
    if isinstance(innermost, OSError) and innermost.strerror:
        return innermost.strerror
    if isinstance(innermost, urllib3.exceptions.IncompleteRead):
        return "the connection broke off"
    return " ".join(str(innermost).split())[:200] or "the connection broke off"
