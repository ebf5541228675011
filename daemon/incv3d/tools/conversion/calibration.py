"""Gather images for a conversion: some calibrate it, the others measure its agreement."""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from incv3d.engines.base import Pixels
from incv3d.errors import Incv3dError
from incv3d.frames import Frame, Region, by_region
from incv3d.images.preprocess import ImageError, Preprocessor
from incv3d.models.graph.pixel_file import PixelFile
from incv3d.sources import OpenSource, SourceError
from incv3d.sources.image_files import find_images, read_image

FEWEST = 10
MOST = 400
"""Images; their pixels are kept in a file, 429 MB for Inception-v3."""
FRAME_TIMEOUT_S = 30.0
"""Timeout for a frame from a source, in addition to its configured interval."""


class CalibrationError(Incv3dError):
    """There are too few usable images."""


@dataclass(frozen=True, slots=True)
class CalibrationSet:
    """Preprocessed images, and how they are divided."""

    pixels: PixelFile
    calibrating: tuple[int, ...]
    """Numbers of the images used for calibration."""
    held_back: tuple[int, ...]
    """Numbers of the images that the conversion never saw."""
    damaged: int
    """Number of images that could not be read or decoded."""
    repeated: int
    """Number of duplicates, which are left out: an image on both sides would prove nothing."""


def image_files(named: Iterable[str]) -> list[Path]:
    """Return the images named by files, folders and patterns; at most :data:`MOST`, evenly spread.

    :raises SourceError: if one of them names no image.
    """
    found = list(dict.fromkeys(path for each in named for path in find_images(each)))
    step = max(1.0, len(found) / MOST)
    return [found[int(number * step)] for number in range(min(len(found), MOST))]


def frames_of(files: Iterable[Path]) -> Iterator[Frame | None]:
    """Yield a frame for each file; None for one that cannot be read."""
    for path in files:
        try:
            yield Frame("calibration", read_image(path), None, received=0.0, captured=0.0)
        except SourceError:
            yield None


def captured_frames(
    open_source: OpenSource, interval_s: float, timeout_s: float, regions: Mapping[str, Region] | None = None
) -> Iterator[Frame]:
    """Yield frames from a source, or the regions of each.

    :param interval_s: minimum seconds between two of them.
    :param timeout_s: how much longer than that one may take.
    :raises SourceError: if the source fails, ends or stops giving frames.
    """
    frames: queue.Queue[Frame | Exception | None] = queue.Queue(maxsize=1)
    stopping = threading.Event()

    def capture() -> None:
        # In a thread, because a camera's library may never return.
        try:
            source = open_source()
            try:
                request = 0.0
                while not stopping.is_set():
                    frame = source.capture(request)
                    request = time.monotonic() + interval_s
                    frames.put(frame)
                    if frame is None:
                        return
            finally:
                source.close()
        except Exception as error:  # noqa: BLE001 - handed to the thread that waits, which raises it
            frames.put(error)

    threading.Thread(target=capture, name="calibration", daemon=True).start()
    try:
        while True:
            try:
                got = frames.get(timeout=interval_s + timeout_s)
            except queue.Empty:
                raise SourceError(f"the source gave no frame within {interval_s + timeout_s:.0f} s") from None
            if isinstance(got, Exception):
                raise got
            if got is None:
                raise SourceError("the source has no more frames")
            yield from by_region(got, regions or {})
    finally:
        stopping.set()
        if not frames.empty():
            frames.get_nowait()  # lets the capturing thread see that it must stop


def gather(
    frames: Iterable[Frame | None],
    preprocessor: Preprocessor,
    pixels: PixelFile,
    calibrates: bool,
    in_blocks: bool,
    counted: Callable[[int], None],
) -> CalibrationSet:
    """Preprocess `frames` and divide them.

    :param preprocessor: one that returns the network's pixels, even if its graph can decode JPEGs.
    :param calibrates: use half of them for calibration; False: hold all back.
    :param in_blocks: calibrate with the first half, because neighbors are alike; False: with every other one.
    :param counted: called after each frame with the number so far.
    :raises CalibrationError: if fewer than :data:`FEWEST` are usable.
    """
    seen: set[tuple[bytes, Region | None]] = set()
    usable = damaged = repeated = 0
    for number, frame in enumerate(frames, start=1):
        counted(number)
        if frame is None:
            damaged += 1
            continue
        # Regions of one frame share its bytes, but are different images.
        digest = (hashlib.sha256(frame.data).digest(), frame.region)
        if digest in seen:
            repeated += 1
            continue
        try:
            fed = cast("Pixels", preprocessor(frame))
        except ImageError:
            damaged += 1
            continue
        seen.add(digest)
        pixels.append(fed)
        usable += 1
    if usable < FEWEST:
        besides = "".join(
            f", {count} {what}" for count, what in ((damaged, "damaged"), (repeated, "repeated")) if count
        )
        raise CalibrationError(
            f"{usable} usable images{besides}: at least {FEWEST} different ones are needed; "
            f"100 to 300 images like those from the camera work well"
        )
    return CalibrationSet(pixels, *divide(usable, calibrates, in_blocks), damaged, repeated)


def divide(usable: int, calibrates: bool, in_blocks: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the numbers of the images for calibration, and of those that are held back."""
    numbers = tuple(range(usable))
    if not calibrates:
        return (), numbers
    if in_blocks:
        return numbers[: usable // 2], numbers[usable // 2 :]
    return numbers[1::2], numbers[::2]
