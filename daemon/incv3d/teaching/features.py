"""Compute the features of the pictures of a teaching set, once for each."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from incv3d.engines.base import Features, Feed
from incv3d.frames import Frame, image_format
from incv3d.images.preprocess import ImageError, Preprocessor
from incv3d.teaching.dataset import FoundFiles, ImageFile
from incv3d.teaching.errors import UnusableSet
from incv3d.teaching.examples import Example
from incv3d.teaching.feature_cache import FeatureCache, Look
from incv3d.teaching.groups import Origin, time_in_name
from incv3d.teaching.picture_names import read_name
from incv3d.teaching.report import Findings
from incv3d.teaching.taken_at import time_in_exif

LARGEST_FILE = 128 * 1024 * 1024
"""Bytes; a larger file is not read into memory."""
DARK = 16.0
"""A picture whose mean pixel, of 255, is below this is nearly black."""
EVERY = 8
"""Every so many rows and columns are enough to see how bright a picture is."""

Featurizer = Callable[[Feed], Features]
"""Runs the network: ``lambda feed: session.run_with_features(feed)[1]``."""
Progress = Callable[[int, int], None]
"""Called with how many files are done, and of how many."""
Copies = Sequence[tuple[ImageFile, Look]]
"""The files with one content."""


@dataclass(frozen=True, slots=True)
class Collected:
    """The pictures that can teach, and what was noticed about all files."""

    examples: tuple[Example, ...]
    findings: Findings


def collect(
    found: FoundFiles,
    preprocessor: Preprocessor,
    run: Featurizer,
    cache: FeatureCache,
    *,
    least_side: int = 0,
    is_sample: bool = False,
    progress: Progress = lambda done, total: None,
) -> Collected:
    """Return the pictures among the files with their features; the cache keeps those of new pictures.

    It can be interrupted at any time; called again, it goes on from there.

    :param least_side: pictures whose shorter side is less are reported as small.
    :param is_sample: the set has more pictures than these: the cache keeps the features of the others.
    :raises UnusableSet: a class has no pictures, or two classes hold the same ones.
    :raises TeachingError: the cache cannot be written.
    :raises SessionError: the network cannot be run.
    """
    by_content: dict[str, list[tuple[ImageFile, Look]]] = {}
    damaged: list[str] = []
    ignored = list(found.ignored)
    for done, file in enumerate(found.files):
        progress(done, len(found.files))
        data = b""
        try:
            data = _read(file.path)
            sha256 = hashlib.sha256(data).hexdigest()
            look = cache.get(sha256)
            if look is None:
                look = look_at(data, preprocessor, run)
                cache.add(sha256, look)
            by_content.setdefault(sha256, []).append((file, look))
        except ImageError as error:
            (damaged if image_format(data) else ignored).append(f"{file.name}: {error}")
    progress(len(found.files), len(found.files))
    if not is_sample:
        cache.keep_only(by_content)
    kept = {sha256: copies[0] for sha256, copies in by_content.items() if len(_labels(copies)) == 1}
    _check_classes(found.files, {file.label for file, _ in kept.values()}, by_content, damaged + ignored)
    examples = tuple(_example(sha256, file, look) for sha256, (file, look) in kept.items())
    findings = Findings(
        damaged=tuple(damaged),
        ignored=tuple(ignored),
        small=tuple(
            f"{file.name}: {look.side} pixels" for file, look in kept.values() if look.side < least_side
        ),
        dark=tuple(file.name for file, look in kept.values() if look.brightness < DARK),
        duplicates=_duplicates(by_content),
        contradictory=_contradictory(by_content),
    )
    return Collected(examples, findings)


def look_at(data: bytes, preprocessor: Preprocessor, run: Featurizer) -> Look:
    """Return what the network sees in an encoded image.

    :raises ImageError: it is not an image, or damaged.
    """
    now = time.monotonic()
    image = preprocessor.decode(Frame("teaching", data, None, received=now, captured=now))
    brightness = float(image[::EVERY, ::EVERY].mean())
    features = np.array(run(preprocessor.feed(image)), np.float32)  # a copy: it may be the engine's memory
    return Look(features, min(image.shape[:2]), brightness, time_in_exif(data))


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ImageError(f"larger than {LARGEST_FILE >> 20} MiB, too large for a picture")
        if not path.is_file():
            raise ImageError("not a file")
        return path.read_bytes()
    except OSError as error:
        raise ImageError(f"cannot be read: {error.strerror}") from None


def _duplicates(by_content: Mapping[str, Copies]) -> tuple[str, ...]:
    return tuple(
        f"{file.name}: the same as {copies[0][0].name}"
        for copies in by_content.values()
        for file, _ in copies[1:]
        if len(_labels(copies)) == 1
    )


def _contradictory(by_content: Mapping[str, Copies]) -> tuple[str, ...]:
    return tuple(
        " and ".join(file.name for file, _ in copies)
        for copies in by_content.values()
        if len(_labels(copies)) > 1
    )


def _labels(copies: Copies) -> set[str]:
    return {file.label for file, _ in copies}


def _example(sha256: str, file: ImageFile, look: Look) -> Example:
    own = read_name(file.path)
    name = own.source if own else file.path.stem
    moments = (own.at_unix_s if own else None, time_in_name(file.path.stem), look.taken_s)
    taken_s = next((each for each in moments if each is not None), None)
    return Example(file.name, file.label, look.features, sha256, Origin(name, file.folder, taken_s))


def _check_classes(
    files: Sequence[ImageFile], there: set[str], by_content: Mapping[str, Copies], problems: Sequence[str]
) -> None:
    """Raise UnusableSet if a class has lost all its files."""
    for label in dict.fromkeys(file.label for file in files):
        if label in there:
            continue
        shared = [labels for copies in by_content.values() if label in (labels := _labels(copies))]
        if shared:
            other = min(shared[0] - {label})
            raise UnusableSet(
                f"`{label}` and `{other}` hold the same pictures: remove them from one of the two"
            )
        first = next((f" ({each})" for each in problems if each.startswith(f"{label}/")), "")
        raise UnusableSet(f"`{label}` has no pictures that can be read{first}")
