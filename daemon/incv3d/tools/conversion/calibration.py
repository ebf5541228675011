"""Pictures for a conversion: some calibrate it, the others show how well it does."""

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
"""Pictures; their pixels wait in a file, of Inception-v3 429 MB then."""
PATIENCE_S = 30.0
"""How long a source may take for a frame, besides the interval that it is configured to have."""


class CalibrationError(Incv3dError):
    """There are not enough usable pictures."""


@dataclass(frozen=True, slots=True)
class CalibrationSet:
    """Pictures that are ready to be fed, and how they are divided."""

    pixels: PixelFile
    calibrating: tuple[int, ...]
    """Numbers of the pictures that calibrate."""
    held_back: tuple[int, ...]
    """Numbers of those that the conversion never saw."""
    damaged: int
    """Could not be read or decoded."""
    repeated: int
    """Were there already: a picture on both sides would prove nothing."""


def picture_files(named: Iterable[str]) -> list[Path]:
    """The pictures that are named by files, folders and patterns; no more than :data:`MOST`, evenly spread.

    :raises SourceError: when one of them names no picture.
    """
    found = list(dict.fromkeys(path for each in named for path in find_images(each)))
    step = max(1.0, len(found) / MOST)
    return [found[int(number * step)] for number in range(min(len(found), MOST))]


def frames_of(files: Iterable[Path]) -> Iterator[Frame | None]:
    """A frame for each file; None for one that cannot be read."""
    for path in files:
        try:
            yield Frame("calibration", read_image(path), None, received=0.0, captured=0.0)
        except SourceError:
            yield None


def captured_frames(
    open_source: OpenSource, gap_s: float, patience_s: float, regions: Mapping[str, Region] | None = None
) -> Iterator[Frame]:
    """Frames of a source, as they come, or the regions of each.

    :param gap_s: seconds between two of them, at least.
    :param patience_s: so long may one take beyond that.
    :raises SourceError: when the source fails, ends or falls silent.
    """
    frames: queue.Queue[Frame | Exception | None] = queue.Queue(maxsize=1)
    stopping = threading.Event()

    def capture() -> None:
        # In a thread of its own: a camera's library may never return.
        try:
            source = open_source()
            try:
                wanted = 0.0
                while not stopping.is_set():
                    frame = source.capture(wanted)
                    wanted = time.monotonic() + gap_s
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
                got = frames.get(timeout=gap_s + patience_s)
            except queue.Empty:
                raise SourceError(f"the source gave no frame within {gap_s + patience_s:.0f} s") from None
            if isinstance(got, Exception):
                raise got
            if got is None:
                raise SourceError("the source has no more frames")
            yield from by_region(got, regions or {})
    finally:
        stopping.set()
        if not frames.empty():
            frames.get_nowait()  # whoever waits to hand one over sees that it is over


def gather(
    frames: Iterable[Frame | None],
    preprocessor: Preprocessor,
    pixels: PixelFile,
    calibrates: bool,
    in_blocks: bool,
    counted: Callable[[int], None],
) -> CalibrationSet:
    """Bring `frames` to the network's input and divide them.

    :param preprocessor: one that gives the network's pixels, whatever its graph can take besides.
    :param calibrates: half of them; False: all are held back.
    :param in_blocks: the first half calibrates, because neighbours are alike; False: every second one.
    :param counted: told after each, how many there were.
    :raises CalibrationError: when fewer than :data:`FEWEST` are usable.
    """
    seen: set[tuple[bytes, Region | None]] = set()
    usable = damaged = repeated = 0
    for number, frame in enumerate(frames, start=1):
        counted(number)
        if frame is None:
            damaged += 1
            continue
        # Regions of one frame share their bytes, and are different pictures.
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
            f"{usable} usable pictures{besides}: at least {FEWEST} different ones are needed, "
            f"100 to 300 of what the camera will see are good"
        )
    return CalibrationSet(pixels, *divide(usable, calibrates, in_blocks), damaged, repeated)


def divide(usable: int, calibrates: bool, in_blocks: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The numbers of the pictures that calibrate, and of those that are held back."""
    numbers = tuple(range(usable))
    if not calibrates:
        return (), numbers
    if in_blocks:
        return numbers[: usable // 2], numbers[usable // 2 :]
    return numbers[1::2], numbers[::2]
