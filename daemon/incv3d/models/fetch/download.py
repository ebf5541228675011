"""Download one large file: resume interrupted downloads, enforce the size, verify before use."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import requests

from incv3d.models.fetch.http_client import (
    BrokenError,
    DownloadError,
    UnreachableError,
    ask,
    check_url,
    read,
    redact,
)
from incv3d.models.files import sha256_of, write_atomically

LARGEST_BYTES = 1 << 30
"""Larger than any model: the limit for a server that does not declare a size."""
HEADWAY_BYTES = 1 << 16
"""An attempt that brought this much resets the count of failures."""
LONGEST_PAUSE_S = 30.0

Progress = Callable[[int, int | None], None]
"""Called with the number of bytes received and, if known, the total."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Timeouts and number of attempts for a download."""

    connect_s: float = 10.0
    read_s: float = 30.0
    """Maximum wait for a byte."""
    attempts: int = 6
    """Maximum number of attempts in a row that bring nothing."""
    pause_s: float = 1.0
    """Pause before the second attempt; doubled for each further one."""
    deadline: float | None = None
    """End of all attempts on the monotonic clock, exceeded by at most one ``read_s``; None: no limit."""

    @property
    def left_s(self) -> float:
        """The seconds until the deadline."""
        return float("inf") if self.deadline is None else self.deadline - time.monotonic()


class RemoteFile(msgspec.Struct, frozen=True, kw_only=True):
    """Identifies the file that a partial download belongs to, so that the rest can be requested."""

    url: str
    """The address without secrets, and a digest of it with them: no file stores the secrets of an address."""
    etag: str = ""
    last_modified: str = ""
    size_bytes: int | None = None
    """Size of the whole file; None until the server has declared it, or sent everything."""

    @property
    def validator(self) -> str:
        """The value for ``If-Range``: a strong ETag, else the date (RFC 9110, section 13.1.5)."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified


@dataclass(frozen=True, slots=True)
class DownloadRequest:
    """A file to download, with its size and checksum, if known."""

    url: str
    size_bytes: int | None = None
    sha256: str = ""


class Download:
    """A download into ``FOLDER/NAME.part``, with a note next to it that identifies the file.

    :param folder: must exist; no other process may download `name` into it at the same time.
    :param ensure_room: called with the number of missing bytes before they are downloaded.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        wanted: DownloadRequest,
        policy: RetryPolicy,
        progress: Progress,
        ensure_room: Callable[[int], None],
    ) -> None:
        self.part = folder / f"{name}.part"
        self._note = folder / f"{name}.json"
        self._wanted = wanted
        self._policy = policy
        self._progress = progress
        self._ensure_room = ensure_room
        self._answered = False

    def run(self) -> Path:
        """Download the file, or the missing part of it.

        :returns: the path of the complete file, whose size and checksum are correct if known.
        :raises UnreachableError: the server cannot be reached; raised at once unless it answered before.
        :raises DownloadError: the file is not available, or not the expected one. The received part is kept
            for the next attempt, unless it is known to be wrong.
        """
        check_url(self._wanted.url)
        if self._wanted.size_bytes is not None:
            self._ensure_room(self._wanted.size_bytes - self._kept()[1])
        self._attempts()
        if self._wanted.sha256 and (found := sha256_of(self.part)) != self._wanted.sha256:
            self.discard()
            raise DownloadError(
                f"{redact(self._wanted.url)}: its SHA-256 is {found} instead of {self._wanted.sha256}: "
                f"damaged in transit, or another file; it was removed"
            )
        return self.part

    def discard(self) -> None:
        """Remove the downloaded part."""
        self.part.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def _attempts(self) -> None:
        failures, furthest = 0, self._kept()[1]
        with requests.Session() as session:
            while not self._is_whole():
                try:
                    self._attempt(session)
                    return
                except (BrokenError, UnreachableError) as error:
                    if isinstance(error, UnreachableError) and not self._answered:
                        raise
                    have = self._kept()[1]
                    failures = 1 if have >= furthest + HEADWAY_BYTES else failures + 1
                    furthest = max(furthest, have)
                    if failures >= self._policy.attempts:
                        raise self._given_up(str(error)) from None
                    self._pause(2 ** (failures - 1))

    def _attempt(self, session: requests.Session) -> None:
        origin, have = self._kept()
        headers = {}
        if have and origin.validator:
            headers = {"Range": f"bytes={have}-", "If-Range": origin.validator}
        left_s = self._policy.left_s
        if left_s <= 0:
            raise self._given_up("the time limit was reached")
        connect_s, read_s = (min(left_s, limit) for limit in (self._policy.connect_s, self._policy.read_s))
        with ask(session, self._wanted.url, headers, connect_s, read_s) as response:
            self._answered = True
            if response.status_code != 200 and not _is_the_rest(response, origin, have):
                self.discard()
                raise BrokenError("the server sent a different part than requested")
            have = have if response.status_code == 206 else 0
            length = response.headers.get("Content-Length", "")
            total = have + int(length) if length.isdecimal() and not response.raw.chunked else None
            self._check_size(total)
            if not have:
                self._begin(response, total)
            have = self._receive(response, have, total)
        if self._kept()[0].size_bytes is None:  # the size became known at the end
            write_atomically(self._note, msgspec.json.encode(_described(response, self._wanted.url, have)))

    def _begin(self, response: requests.Response, total: int | None) -> None:
        """Start the file again, without ever leaving a part of one file with the note of another."""
        self.discard()
        if total is not None:
            self._ensure_room(total)
        write_atomically(self._note, msgspec.json.encode(_described(response, self._wanted.url, total)))

    def _receive(self, response: requests.Response, have: int, total: int | None) -> int:
        limit = total or self._wanted.size_bytes or LARGEST_BYTES
        with self.part.open("r+b" if have else "wb") as file:
            file.seek(have)
            while data := read(response):
                have += len(data)
                if have > limit:
                    self.discard()
                    raise DownloadError(f"{redact(self._wanted.url)}: aborted after more than {limit} bytes")
                file.write(data)
                self._progress(have, total)
                if self._policy.left_s <= 0:
                    file.flush()
                    raise self._given_up("the time limit was reached")
        if have < (total or self._wanted.size_bytes or 1):
            raise BrokenError("the connection was lost")
        return have

    def _check_size(self, total: int | None) -> None:
        wanted = self._wanted.size_bytes
        if total is not None and wanted not in (None, total):
            raise DownloadError(
                f"{redact(self._wanted.url)}: the file on the server has {total} bytes instead of {wanted}"
            )
        if total is not None and not 0 < total <= LARGEST_BYTES:
            raise DownloadError(f"{redact(self._wanted.url)}: {total} bytes is not a plausible model size")

    def _kept(self) -> tuple[RemoteFile, int]:
        """Return the description and the size of the kept part of this file from this address."""
        try:
            origin = msgspec.json.decode(self._note.read_bytes(), type=RemoteFile)
            size_bytes = self.part.stat().st_size
        except (FileNotFoundError, msgspec.DecodeError, UnicodeDecodeError):
            return RemoteFile(url=_identity(self._wanted.url)), 0
        wanted = self._wanted
        if origin.url != _identity(wanted.url) or wanted.size_bytes not in (
            None,
            origin.size_bytes or wanted.size_bytes,
        ):
            return RemoteFile(url=_identity(wanted.url)), 0
        return origin, size_bytes

    def _is_whole(self) -> bool:
        origin, have = self._kept()
        return have > 0 and have == origin.size_bytes

    def _given_up(self, why: str) -> DownloadError:
        origin, have = self._kept()
        of = f" of {origin.size_bytes}" if origin.size_bytes else ""
        kept = f"{have}{of} bytes are kept, and the next attempt resumes there" if have else "nothing came"
        return DownloadError(f"{redact(self._wanted.url)}: {why}; {kept}")

    def _pause(self, doubled: int) -> None:
        time.sleep(max(0.0, min(self._policy.pause_s * doubled, LONGEST_PAUSE_S, self._policy.left_s)))


def progress_lines(what: str, say: Callable[[str], None]) -> Progress:
    """Return a progress callback that reports each tenth of the download, or each 10 MB of an unknown
    size."""
    reported = -1

    def progress(have: int, total: int | None) -> None:
        nonlocal reported
        step = have * 10 // (total or 100_000_000)
        if step != reported:
            reported = step
            of = f" of {total / 1e6:.1f}" if total else ""
            say(f"fetching {what}: {have / 1e6:.1f}{of} MB")

    return progress


def _is_the_rest(response: requests.Response, origin: RemoteFile, have: int) -> bool:
    """Return whether an answer with status 206 continues the kept part of the same file."""
    span, _, size = response.headers.get("Content-Range", "").rpartition("/")
    return (
        response.status_code == 206
        and have > 0
        and span.startswith(f"bytes {have}-")
        and (origin.size_bytes is None or size in (str(origin.size_bytes), "*"))
        and response.headers.get("ETag", origin.etag) == origin.etag
    )


def _identity(url: str) -> str:
    return f"{redact(url)} {hashlib.sha256(url.encode()).hexdigest()}"


def _described(response: requests.Response, url: str, size_bytes: int | None) -> RemoteFile:
    return RemoteFile(
        url=_identity(url),
        etag=response.headers.get("ETag", ""),
        last_modified=response.headers.get("Last-Modified", ""),
        size_bytes=size_bytes,
    )
