"""Keep features on disk, so that a picture is looked at once for each network."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from incv3d.engines.base import Features
from incv3d.models.files import write_atomically
from incv3d.teaching.errors import TeachingError

SUFFIX = ".features"
MOST_FILES = 2
"""Caches of other networks, precisions or fits that are kept."""
SPARE = 1000
"""Features of pictures that are no longer in the set are removed when there are more than this, and than
those that are."""


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of a picture after the network has looked at it."""

    features: Features
    side: int
    """The shorter side of the decoded picture, which may have been reduced, in pixels."""
    brightness: float
    """The mean of its pixels, 0 to 255."""
    taken_s: float | None
    """When it was taken, by its EXIF, in seconds since 1970; None: unknown."""


def cache_key(network_sha256: str, precision: str, fit: str, crop_fraction: float) -> str:
    """Return the name of the cache for one network and one way to prepare pictures for it."""
    parts = f"{network_sha256} {precision} {fit} {crop_fraction if fit == 'crop' else 1:g}"
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


class FeatureCache:
    """Features by the SHA-256 of the pictures' files, in a file of records that only grows.

    A record is complete or it is not there: it has a checksum, and whatever follows a damaged one is cut off.
    One process at a time may use it: see :meth:`incv3d.models.taught.store.TaughtStore.teaching`.

    :param folder: created if it is missing.
    :param length: number of features.
    :raises TeachingError: it cannot be written.
    """

    def __init__(self, folder: Path, key: str, length: int) -> None:
        self._path = folder / f"{key}{SUFFIX}"
        self._record = np.dtype(
            [
                ("crc32", "<u4"),
                ("sha256", "V32"),
                ("side", "<u4"),
                ("brightness", "<f4"),
                ("taken_s", "<f8"),
                ("features", "<f4", (length,)),
            ]
        )
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._remove_others(folder)
            self._looks = self._read()
            self._file = self._path.open("ab")
        except OSError as error:
            raise self._cannot(error) from None

    def __len__(self) -> int:
        return len(self._looks)

    def get(self, sha256: str) -> Look | None:
        """Return what is known of the picture with this content; None: nothing."""
        return self._looks.get(sha256)

    def add(self, sha256: str, look: Look) -> None:
        """Keep what is known of a picture.

        :raises TeachingError: it cannot be written; the disk may be full.
        """
        record = np.zeros((), self._record)
        record["sha256"] = np.void(bytes.fromhex(sha256))
        record["side"], record["brightness"] = look.side, look.brightness
        record["taken_s"] = np.nan if look.taken_s is None else look.taken_s
        record["features"] = look.features
        record["crc32"] = zlib.crc32(record.tobytes()[4:])
        try:
            self._file.write(record.tobytes())
            self._file.flush()
        except OSError as error:
            raise self._cannot(error) from None
        self._looks[sha256] = look

    def keep_only(self, sha256s: Collection[str]) -> None:
        """Remove the features of all other pictures, if there are many.

        :raises TeachingError: it cannot be written.
        """
        others = self._looks.keys() - set(sha256s)
        if len(others) <= max(SPARE, len(self._looks) - len(others)):
            return
        kept = [each for each in self._rows() if each["sha256"].tobytes().hex() not in others]
        try:
            write_atomically(self._path, b"".join(each.tobytes() for each in kept))
            self._file.close()
            self._file = self._path.open("ab")
        except OSError as error:
            raise self._cannot(error) from None
        for sha256 in others:
            del self._looks[sha256]

    def __enter__(self) -> FeatureCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write everything to the disk."""
        try:
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as problem:
            raise self._cannot(problem) from None

    def _rows(self) -> Any:
        data = self._path.read_bytes() if self._path.exists() else b""
        return np.frombuffer(data, self._record, len(data) // self._record.itemsize)

    def _read(self) -> dict[str, Look]:
        looks: dict[str, Look] = {}
        sound = 0
        for row in self._rows():
            if zlib.crc32(row.tobytes()[4:]) != row["crc32"]:
                break
            sound += 1
            taken_s = None if np.isnan(row["taken_s"]) else float(row["taken_s"])
            looks[row["sha256"].tobytes().hex()] = Look(
                row["features"], int(row["side"]), float(row["brightness"]), taken_s
            )
        if self._path.exists():
            os.truncate(self._path, sound * self._record.itemsize)
        return looks

    def _remove_others(self, folder: Path) -> None:
        others = [each for each in folder.glob(f"*{SUFFIX}") if each != self._path]
        others.sort(key=lambda each: each.stat().st_mtime)
        for each in others[:-MOST_FILES]:
            each.unlink()

    def _cannot(self, error: OSError) -> TeachingError:
        return TeachingError(f"{self._path}: cannot be written: {error.strerror}")
