"""Create the configured source: the registry of source types, and what is common to all of them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from typing import assert_never

from incv3d.config.source import SourceSection
from incv3d.config.source_types import CAMERAS, OpenableType
from incv3d.sources.backend import SourceBackend
from incv3d.sources.base import CameraInfo, FrameSource, LibraryMissing, OpenSource, SourceAbsent, SourceError
from incv3d.sources.recorded import Record, recorded_opener
from incv3d.sources.redaction import redacted_opener
from incv3d.sources.transformed import TransformedSource

LOG = logging.getLogger(__name__)


def backend_of(kind: OpenableType) -> SourceBackend:
    """Return the backend of a source type: the registry. It imports no camera library."""
    match kind:
        case "picamera2":
            from incv3d.sources.picamera2 import PICAMERA2

            return PICAMERA2
        case "picamera":
            from incv3d.sources.picamera import PICAMERA

            return PICAMERA
        case "v4l2":
            from incv3d.sources.v4l2 import V4L2

            return V4L2
        case "video":
            from incv3d.sources.video import VIDEO

            return VIDEO
        case "images":
            from incv3d.sources.images import IMAGES

            return IMAGES
        case "imagezmq":
            from incv3d.sources.imagezmq import IMAGEZMQ

            return IMAGEZMQ
        case _:
            assert_never(kind)


def source_opener(section: SourceSection, record: Record | None = None) -> OpenSource | None:
    """Return a function that opens the configured source; None for ``type: none``.

    :param record: gets every packet that the camera encoded; None: nobody wants them.

    Nothing is opened or imported yet: a library or device that hangs does so in the thread that captures.

    :raises LibraryMissing: the library of the type is not installed.
    :raises SourceMisnamed: the path is missing and will not appear by itself.
    """
    if section.type == "none":
        return None
    if section.type == "auto":
        return lambda: open_first(section, record)
    _check(section.type, section)
    opener = _opener_of(section.type, section, record)
    return redacted_opener(opener, [section.path, *section.addresses])


def source_openers(
    sources: Mapping[str, SourceSection], record: Record | None = None
) -> dict[str, OpenSource]:
    """Return what opens each source, by its name.

    :param sources: by the place of their keys, as :attr:`Config.all_sources` names it.
    :param record: gets every packet that a camera encoded; None: nobody wants them.
    :raises SourceError: the library of a type is not installed, or a path will not appear by itself.
    """
    openers = {}
    for place, section in sources.items():
        with naming_place(place):
            if opener := source_opener(section, record):
                openers[section.name] = opener
    return openers


@contextlib.contextmanager
def naming_place(place: str) -> Iterator[None]:
    """Let errors raised in the block name the keys of the source at `place`, such as ``sources[1]``."""
    try:
        yield
    except SourceError as error:
        error.args = (str(error).replace("source.", f"{place}.", 1),)
        raise


def check_source(section: SourceSection, place: str = "source") -> None:
    """Check that the source can be opened, without opening it; warn of keys that its type does not use.

    :param place: where its keys are: ``source``, or ``sources[1]``.
    :raises LibraryMissing: the library of the type is not installed.
    :raises SourceMisnamed: the path is missing and will not appear by itself.
    """
    if section.type == "none" or section.type == "auto":
        return
    if ignored := section.ignored_keys:
        LOG.warning("%s: type %s does not use %s", place, section.type, ", ".join(ignored))
    with naming_place(place):
        _check(section.type, section)


def _check(kind: OpenableType, section: SourceSection) -> None:
    backend = backend_of(kind)
    if backend.library and backend.needs_library(section):
        backend.library.check()
    backend.check(section)


def open_first(section: SourceSection, record: Record | None = None) -> FrameSource:
    """Open the first camera of :data:`CAMERAS` that is there.

    :raises SourceAbsent: there is none; the message gives the reason for each type.
    """
    reasons = []
    for kind in CAMERAS:
        try:
            return _opener_of(kind, section, record)()
        except LibraryMissing:
            reasons.append(f"{kind}: its library is missing or cannot be loaded")
        except SourceAbsent as error:
            reasons.append(f"{kind}: {error}")
    raise SourceAbsent(
        f"no camera found, only frames sent by clients are classified ({'; '.join(reasons)}); "
        "for details run: incv3d cameras"
    )


def _opener_of(kind: OpenableType, section: SourceSection, record: Record | None) -> OpenSource:
    backend = backend_of(kind)
    opener = backend.opener(section)
    if record:
        opener = recorded_opener(opener, section.name, record)

    def open_source() -> FrameSource:
        if backend.library and backend.needs_library(section):
            backend.library.load()
        source = opener()
        if section.transform == "none" or section.transform in backend.transforms:
            return source
        return TransformedSource(source, section.transform)

    return open_source


def list_cameras() -> tuple[list[CameraInfo], list[str]]:
    """Return the cameras of this machine, and for each camera type that cannot be searched the reason."""
    found: list[CameraInfo] = []
    notes: list[str] = []
    for kind in CAMERAS:
        backend = backend_of(kind)
        try:
            if backend.library:
                backend.library.load()
            if backend.list_cameras:
                found += backend.list_cameras()
        except LibraryMissing as error:
            notes.append(f"{kind}: {error}")
    return found, notes
