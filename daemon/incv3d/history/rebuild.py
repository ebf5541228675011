"""Make a history from the images that were saved of events, where the file is lost."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from incv3d.history.database import HistoryError
from incv3d.history.visit import Visit
from incv3d.history.writer import HistoryWriter
from incv3d.images.saved_facts import read_facts

SUFFIXES = (".jpg", ".png", ".webp", ".bmp")
REASON = "rebuilt"
BATCH = 500


def rebuild(folder: Path, path: Path) -> int:
    """Add a visit for each label of each image that no visit names; return how many were added.

    How long they lasted is not known. The daemon may run meanwhile.

    :param folder: where images are saved.
    :param path: the file of the history.
    :raises HistoryError: the folder cannot be read, or the file cannot be written.
    """
    try:
        files = sorted(each for each in folder.iterdir() if each.suffix in SUFFIXES)
    except OSError as error:
        raise HistoryError(f"{folder}: cannot be read: {error.strerror}") from None
    writer = HistoryWriter(path)
    try:
        known = writer.images()
        visits = [visit for file in files if file.name not in known for visit in _visits_of(file)]
        for begin in range(0, len(visits), BATCH):
            writer.add(visits[begin : begin + BATCH])
        writer.count()
    finally:
        writer.close()
    return len(visits)


def _visits_of(file: Path) -> Iterator[Visit]:
    """Yield what an image says of its labels; nothing if it is not of an event, or is gone."""
    try:
        facts = read_facts(file, file.read_bytes())
        at_ms = round(datetime.fromisoformat(facts["at"]).timestamp() * 1000)
        for each in facts["labels"]:
            yield Visit(
                str(facts["source"]),
                str(each["label"]),
                str(each["synset"]),
                at_ms,
                float(each["score"]),
                0.0,
                REASON,
                file.name,
            )
    except (OSError, KeyError, TypeError, ValueError):
        return
