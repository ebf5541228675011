"""An HTTP client for cameras: logins, redirects, self-signed certificates, and errors in one line."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import socket
import ssl
from collections.abc import Iterator
from http.client import BadStatusLine, RemoteDisconnected
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

import requests
import urllib3
from requests.auth import AuthBase, HTTPBasicAuth, HTTPDigestAuth

from incv3d import __version__
from incv3d.config.address import Address
from incv3d.sources.base import SourceAbsent, SourceError

LOG = logging.getLogger(__name__)
CHUNK_BYTES = 1 << 16
CONNECT_S = 10.0
"""A reachable camera connects within this time."""
MOST_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
PASSING = (404, 408, 429, 500, 502, 503, 504)
"""Statuses of a camera, or of a proxy, that may be temporary."""
HUNG_UP = (ConnectionResetError, BrokenPipeError, RemoteDisconnected)
GONE = (errno.ECONNREFUSED, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN)


class HttpResponse:
    """The body of a response, read as it arrives."""

    def __init__(self, response: requests.Response, shown: str) -> None:
        self._response = response
        self._shown = shown
        self.content_type = response.headers.get("Content-Type", "").strip()
        self.is_bounded = "Content-Length" in response.headers
        """Whether its length is stated."""

    @property
    def media_type(self) -> str:
        """``multipart/x-mixed-replace``, ``image/jpeg``; empty if not stated."""
        return self.content_type.partition(";")[0].strip().lower()

    @property
    def boundary(self) -> str:
        """The separator of its parts; empty if not stated."""
        for parameter in self.content_type.split(";")[1:]:
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "boundary":
                return value.strip().strip('"')
        return ""

    def read(self) -> bytes:
        """Return the next bytes as they arrive; empty at the end.

        :raises SourceError: the connection breaks off, or no data arrives in time.
        """
        try:
            # Decoded, because some servers compress even when asked not to.
            data: bytes = self._response.raw.read1(CHUNK_BYTES, decode_content=True)
        except (urllib3.exceptions.HTTPError, OSError, ValueError, AttributeError) as error:
            # The last two occur when another thread shuts the connection down.
            raise explained(error, self._shown) from None
        return data

    def waits(self) -> bool:
        """Return whether more data has already arrived."""
        try:
            poll = select.poll()
            poll.register(self._response.raw.fileno(), select.POLLIN)
            return bool(poll.poll(0))
        except (OSError, ValueError, AttributeError):  # its end was already read
            return True

    def shut(self) -> None:
        """Make a blocked :meth:`read` return. Callable from any thread; never blocks."""
        with (
            contextlib.suppress(OSError, ValueError, AttributeError),
            socket.socket(fileno=os.dup(self._response.raw.fileno())) as connection,
        ):
            connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self._response.close()


class HttpClient:
    """Requests one address, once or repeatedly.

    A user name and a password in the address are sent when the camera asks for them (Basic or Digest), and
    only to its own host. A certificate that cannot be verified is accepted, because cameras sign theirs
    themselves; the log says so.

    :param timeout_s: the longest time without data.
    """

    def __init__(self, address: Address, timeout_s: float) -> None:
        self.shown = str(address)
        parts = urlsplit(address.reveal())
        login, _, host = parts.netloc.rpartition("@")
        user, _, password = login.partition(":")
        self._login = (unquote(user), unquote(password)) if login else None
        self._url = urlunsplit(parts._replace(netloc=host, fragment=""))
        self._timeouts = (min(CONNECT_S, timeout_s), timeout_s)
        self._auth: AuthBase | None = None
        self._was_answered = False
        self._verify = True
        # urllib3 quotes the whole address, with its secrets, in warnings about odd headers.
        logging.getLogger("urllib3").setLevel(logging.ERROR)
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"incv3d/{__version__}"
        self._session.headers["Accept-Encoding"] = "identity"

    def get(self) -> HttpResponse:
        """Send one GET request and follow redirects.

        :raises SourceAbsent: the camera does not answer, or is busy.
        :raises SourceError: the camera refuses, or its response is not valid.
        """
        url = self._url
        for _ in range(MOST_REDIRECTS + 1):
            response = self._get(url)
            if response.status_code in REDIRECTS:
                response.close()
                url = self._redirected(url, response.headers.get("Location", ""))
                continue
            if response.status_code != 200:
                response.close()
                raise self._refusal(response)
            self._was_answered = True
            return HttpResponse(response, self.shown)
        raise SourceError(f"{self.shown}: redirected more than {MOST_REDIRECTS} times")

    def close(self) -> None:
        """Close the connections that were kept open."""
        self._session.close()

    def _get(self, url: str) -> requests.Response:
        here, home = urlsplit(url), urlsplit(self._url)
        is_home = here.hostname == home.hostname and (here.scheme == "https" or home.scheme == "http")
        response = self._send(url, self._auth if is_home else None)
        if response.status_code == 401 and is_home and self._login and self._auth is None:
            response.close()
            user, password = self._login
            wanted = response.headers.get("WWW-Authenticate", "").lower()
            if "digest" in wanted:
                self._auth = HTTPDigestAuth(user, password)
            else:
                self._auth = HTTPBasicAuth(user.encode(), password.encode())
            response = self._send(url, self._auth)
        return response

    def _send(self, url: str, auth: AuthBase | None) -> requests.Response:
        try:
            return self._session.get(
                url,
                auth=auth,
                stream=True,
                allow_redirects=False,
                timeout=self._timeouts,
                verify=self._verify,
            )
        except requests.RequestException as error:
            found = list(causes(error))
            if self._was_answered and any(isinstance(each, HUNG_UP) for each in found):
                # The camera closed the kept connection just as this request was sent.
                self._was_answered = False
                return self._send(url, auth)
            if self._verify and any(isinstance(each, ssl.SSLCertVerificationError) for each in found):
                LOG.warning("%s: used anyway, but %s", self.shown, reason(error))
                # urllib3 would repeat the warning at every request.
                urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
                self._verify = False
                return self._send(url, auth)
            raise explained(error, self.shown) from None
        except ValueError:
            raise SourceError(f"{self.shown}: this address, or the one it redirects to, is invalid") from None
        except urllib3.exceptions.HTTPError as error:
            raise explained(error, self.shown) from None
        except KeyError as error:  # from HTTPDigestAuth
            raise SourceError(f"{self.shown}: its Digest login lacks the field {error}") from None

    def _redirected(self, url: str, location: str) -> str:
        target = urljoin(url, location)
        if not location or urlsplit(target).scheme not in ("http", "https"):
            raise SourceError(f"{self.shown}: redirected to `{Address(location)}`, which cannot be followed")
        return target

    def _refusal(self, response: requests.Response) -> SourceError:
        status = response.status_code
        said = f"{self.shown}: the server answered {status} {response.reason or ''}".rstrip()
        if status == 401 and self._login:
            return SourceError(f"{said}: wrong user name or password")
        if status == 401:
            return SourceError(f"{said}: it requires a login: http://USER:PASSWORD@HOST/...")
        return SourceAbsent(said) if status in PASSING else SourceError(said)


def explained(error: Exception, shown: str) -> SourceError:
    """Return the error to raise for a request without a response, or for a response that broke off."""
    found = list(causes(error))
    is_gone = any(isinstance(each, socket.gaierror) or getattr(each, "errno", 0) in GONE for each in found)
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return SourceAbsent(f"{shown}: it does not answer")
    said = f"{shown}: {reason(error)}"
    return SourceAbsent(said) if is_gone else SourceError(said)


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and its chain of causes."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def reason(error: BaseException) -> str:
    """Return the message of the innermost cause; the outer ones repeat it, with the address."""
    found = list(causes(error))
    innermost = found[-1]
    if isinstance(innermost, ssl.SSLCertVerificationError):
        return f"its certificate cannot be verified: {innermost.verify_message}"
    if isinstance(innermost, OSError) and innermost.strerror:
        return innermost.strerror
    if any(isinstance(each, urllib3.exceptions.TimeoutError | TimeoutError) for each in found):
        return "no data in time"
    if isinstance(error, requests.exceptions.InvalidURL | urllib3.exceptions.LocationParseError):
        return "not a valid address"
    if isinstance(innermost, BadStatusLine) and not isinstance(innermost, RemoteDisconnected):
        return "the response is not HTTP; does the address begin with https:// or rtsp://?"
    return f"the connection broke off ({type(innermost).__name__})"
