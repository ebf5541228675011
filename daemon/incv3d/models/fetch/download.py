"""Download one large file: resumed where it broke off, held to its size, checked before use."""

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
    shown,
)
from incv3d.models.files import sha256_of, write_atomically

LARGEST_BYTES = 1 << 30
"""No model is larger; a server that says nothing of a size is cut off here."""
HEADWAY_BYTES = 1 << 16
"""An attempt that brought so much was worth it: the count of failures starts anew."""
LONGEST_PAUSE_S = 30.0

Progress = Callable[[int, int | None], None]
"""Told how many bytes are there, and how many there will be, if that is known."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """How long a server is waited for, and how often it is asked again."""

    connect_s: float = 10.0
    read_s: float = 30.0
    """Without a byte."""
    attempts: int = 6
    """In a row that bring nothing."""
    pause_s: float = 1.0
    """Before the second attempt; doubled before each further one."""
    deadline: float | None = None
    """On the monotonic clock, for all of it; overrun by one ``read_s`` at most. None: no end."""

    @property
    def left_s(self) -> float:
        """Seconds until the deadline."""
        return float("inf") if self.deadline is None else self.deadline - time.monotonic()


class RemoteFile(msgspec.Struct, frozen=True, kw_only=True):
    """Of what the bytes that are there are a part, so that the rest can be asked for."""

    url: str
    """As it may be shown, and a digest of the whole: a file keeps no secret of an address."""
    etag: str = ""
    last_modified: str = ""
    size_bytes: int | None = None
    """Of the whole file; None until the server has said so, or has sent it all."""

    @property
    def validator(self) -> str:
        """What ``If-Range`` takes: a strong ETag, else the date (RFC 9110, section 13.1.5)."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.last_modified


@dataclass(frozen=True, slots=True)
class DownloadRequest:
    """A file to be downloaded, and what is known of it."""

    url: str
    size_bytes: int | None = None
    sha256: str = ""


class Download:
    """One file on its way to ``FOLDER/NAME.part``; beside it is noted of what it is a part.

    :param folder: exists, and nobody else downloads `name` into it meanwhile.
    :param ensure_room: called with the number of bytes that are still to come, before they do.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        wanted: DownloadRequest,
        patience: Deadline,
        progress: Progress,
        ensure_room: Callable[[int], None],
    ) -> None:
        self.part = folder / f"{name}.part"
        self._note = folder / f"{name}.json"
        self._wanted = wanted
        self._patience = patience
        self._progress = progress
        self._ensure_room = ensure_room
        self._answered = False

    def run(self) -> Path:
        """Download the file, or what is missing of it.

        :returns: the file, whole, of its size and checksum where they are known.
        :raises UnreachableError: nobody answers; final at once unless somebody did before.
        :raises DownloadError: it cannot be had, or is not what it should be. What came is kept for the next
            attempt, unless it is known to be wrong.
        """
        check_url(self._wanted.url)
        if self._wanted.size_bytes is not None:
            self._ensure_room(self._wanted.size_bytes - self._kept()[1])
        self._attempts()
        if self._wanted.sha256 and (found := sha256_of(self.part)) != self._wanted.sha256:
            self.discard()
            raise DownloadError(
                f"{shown(self._wanted.url)}: its SHA-256 is {found}, it must be {self._wanted.sha256}: "
                f"damaged on its way, or another file; it was removed"
            )
        return self.part

    def discard(self) -> None:
        """Remove what is there of it."""
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
                    if failures >= self._patience.attempts:
                        raise self._given_up(str(error)) from None
                    self._pause(2 ** (failures - 1))

    def _attempt(self, session: requests.Session) -> None:
        origin, have = self._kept()
        headers = {}
        if have and origin.validator:
            headers = {"Range": f"bytes={have}-", "If-Range": origin.validator}
        left_s = self._patience.left_s
        if left_s <= 0:
            raise self._given_up("there was no more time")
        connect_s, read_s = (
            min(left_s, limit) for limit in (self._patience.connect_s, self._patience.read_s)
        )
        with ask(session, self._wanted.url, headers, connect_s, read_s) as response:
            self._answered = True
            if response.status_code != 200 and not _is_the_rest(response, origin, have):
                self.discard()
                raise BrokenError("the server sent another part than it was asked for")
            have = have if response.status_code == 206 else 0
            length = response.headers.get("Content-Length", "")
            total = have + int(length) if length.isdecimal() and not response.raw.chunked else None
            self._check_size(total)
            if not have:
                self._begin(response, total)
            have = self._receive(response, have, total)
        if self._kept()[0].size_bytes is None:  # its end said how large it is
            write_atomically(self._note, msgspec.json.encode(_described(response, self._wanted.url, have)))

    def _begin(self, response: requests.Response, total: int | None) -> None:
        """Start the file anew; at no moment is there a part of one beside the note of another."""
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
                    raise DownloadError(
                        f"{shown(self._wanted.url)}: cut off, because more than {limit} bytes came"
                    )
                file.write(data)
                self._progress(have, total)
                if self._patience.left_s <= 0:
                    file.flush()
                    raise self._given_up("there was no more time")
        if have < (total or self._wanted.size_bytes or 1):
            raise BrokenError("the connection broke off")
        return have

    def _check_size(self, total: int | None) -> None:
        wanted = self._wanted.size_bytes
        if total is not None and wanted not in (None, total):
            raise DownloadError(
                f"{shown(self._wanted.url)}: the server has {total} bytes, it must be {wanted}"
            )
        if total is not None and not 0 < total <= LARGEST_BYTES:
            raise DownloadError(f"{shown(self._wanted.url)}: {total} bytes, no model has that")

    def _kept(self) -> tuple[RemoteFile, int]:
        """What is there of this file from this address, and its number of bytes."""
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
        kept = f"{have}{of} bytes are kept, the next attempt goes on from there" if have else "nothing came"
        return DownloadError(f"{shown(self._wanted.url)}: {why}; {kept}")

    def _pause(self, doubled: int) -> None:
        time.sleep(max(0.0, min(self._patience.pause_s * doubled, LONGEST_PAUSE_S, self._patience.left_s)))


def lines_of_progress(what: str, say: Callable[[str], None]) -> Progress:
    """A progress that says a line at every tenth of the download, or every 10 MB of an unknown size."""
    said = -1

    def progress(have: int, total: int | None) -> None:
        nonlocal said
        step = have * 10 // (total or 100_000_000)
        if step != said:
            said = step
            of = f" of {total / 1e6:.1f}" if total else ""
            say(f"fetching {what}: {have / 1e6:.1f}{of} MB")

    return progress


def _is_the_rest(response: requests.Response, origin: RemoteFile, have: int) -> bool:
    """Whether an answer of status 206 goes on where the kept part ends, in the same file."""
    span, _, size = response.headers.get("Content-Range", "").rpartition("/")
    return (
        response.status_code == 206
        and have > 0
        and span.startswith(f"bytes {have}-")
        and (origin.size_bytes is None or size in (str(origin.size_bytes), "*"))
        and response.headers.get("ETag", origin.etag) == origin.etag
    )


def _identity(url: str) -> str:
    return f"{shown(url)} {hashlib.sha256(url.encode()).hexdigest()}"


def _described(response: requests.Response, url: str, size_bytes: int | None) -> RemoteFile:
    return RemoteFile(
        url=_identity(url),
        etag=response.headers.get("ETag", ""),
        last_modified=response.headers.get("Last-Modified", ""),
        size_bytes=size_bytes,
    )
