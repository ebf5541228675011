"""Name the pictures of a teaching set after when and where they were taken, and read such names.

``20260131T120000.000Z_camera.feeder_HASH.jpg`` was captured; ``IMG-1234_HASH.jpg`` was added from a file that
does not say when it was taken. A picture that the daemon saved of an event is called
``20260131T120000.000Z_camera_tench_0.89.jpg``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from incv3d.clock import timestamp_ms

MOMENT = r"(?P<moment>\d{8}T\d{6}\.\d{3}Z)"
OWN = re.compile(rf"(?:{MOMENT}_)?(?P<source>.+)_(?P<hash>[0-9a-f]{{16}})")
SAVED = re.compile(rf"{MOMENT}_(?P<source>.+)_(?P<label>[^_]+)_[01]\.\d\d(?:-\d+)?")
LONGEST_SOURCE = 60


@dataclass(frozen=True, slots=True)
class NameFacts:
    """When and where a picture was taken."""

    source: str
    """The source of the frame, ``camera.feeder``, or the name of the file that was added."""
    at_unix_s: float | None
    """None: unknown."""
    label: str = ""
    """For a picture saved of an event: its label, as file names write it."""


def picture_name(source: str, at_unix_s: float | None, sha256: str) -> str:
    """Return the name, without suffix, for a picture with this content."""
    word = re.sub(r"[^A-Za-z0-9.-]+", "-", source).strip("-.")[:LONGEST_SOURCE] or "picture"
    moment = "" if at_unix_s is None else re.sub("[-:]", "", timestamp_ms(at_unix_s)) + "_"
    return f"{moment}{word}_{sha256[:16]}"


def read_name(path: Path) -> NameFacts | None:
    """Return what the name of the picture at `path` says; None: it is neither of the set nor of an event."""
    found = OWN.fullmatch(path.stem) or SAVED.fullmatch(path.stem)
    if not found:
        return None
    label = found.groupdict().get("label", "")
    return NameFacts(found["source"], _unix(found["moment"]) if found["moment"] else None, label)


def _unix(moment: str) -> float:
    return datetime.strptime(moment, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC).timestamp()
