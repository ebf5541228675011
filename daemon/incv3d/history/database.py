"""The file that keeps the history: SQLite, written once a minute.

An SD card lasts longer the less is written, so a minute costs as few pages as possible: pages are small,
visits are in the order of time without another index, and the counts by hour are added up once an hour.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from incv3d.errors import Incv3dError

FILE = "history.sqlite"
"""The name of the file, in the state directory."""
VERSION = 1
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
PAGE_BYTES = 1024
COUNTS = """
CREATE TABLE hours (
    hour INTEGER NOT NULL,  -- since 1970
    source INTEGER NOT NULL,
    label INTEGER NOT NULL,
    visits INTEGER NOT NULL,  -- that entered in this hour
    seconds REAL NOT NULL,
    PRIMARY KEY (hour, source, label)
) WITHOUT ROWID;
CREATE TABLE days (
    day INTEGER NOT NULL,  -- 24 hours, since 1970
    source INTEGER NOT NULL,
    label INTEGER NOT NULL,
    visits INTEGER NOT NULL,
    seconds REAL NOT NULL,
    PRIMARY KEY (day, source, label)
) WITHOUT ROWID;
CREATE TABLE totals (
    label INTEGER NOT NULL,
    source INTEGER NOT NULL,
    visits INTEGER NOT NULL,
    seconds REAL NOT NULL,
    first_ms INTEGER NOT NULL,
    last_ms INTEGER NOT NULL,
    PRIMARY KEY (label, source)
) WITHOUT ROWID;
"""
TABLES = f"""
CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT NOT NULL, synset TEXT NOT NULL, UNIQUE (name, synset));
CREATE TABLE visits (
    id INTEGER PRIMARY KEY,  -- when it left, in ms since 1970, or the next free number
    entered_ms INTEGER NOT NULL,
    source INTEGER NOT NULL,
    label INTEGER NOT NULL,
    best REAL NOT NULL,
    duration_ms INTEGER NOT NULL,
    reason TEXT NOT NULL,
    image TEXT NOT NULL
);
CREATE TABLE present (
    source INTEGER NOT NULL,
    label INTEGER NOT NULL,
    entered_ms INTEGER NOT NULL,
    best REAL NOT NULL,
    image TEXT NOT NULL,
    PRIMARY KEY (source, label)
) WITHOUT ROWID;
{COUNTS}
CREATE TABLE counted (until_id INTEGER NOT NULL);  -- visits up to this one are in hours and totals
INSERT INTO counted VALUES (0);
"""


class HistoryError(Incv3dError):
    """The file of the history cannot be used."""


def connect(path: Path, *, writable: bool) -> sqlite3.Connection:
    """Open the file; with `writable`, create it if it does not exist.

    :raises HistoryError: it is not there, cannot be read, is damaged, or a newer version wrote it.
    """
    if not writable and not path.exists():
        raise HistoryError(f"{path}: there is no history yet; it begins with the first label that enters")
    mode = "rwc" if writable else "ro"
    try:
        if writable and (not path.exists() or not path.stat().st_size):
            _create(path)
        connection = sqlite3.connect(
            f"file:{_quoted(path)}?mode={mode}", uri=True, timeout=5.0, check_same_thread=False
        )
    except (sqlite3.Error, OSError) as error:
        raise HistoryError(f"{path}: cannot be opened: {error}") from None
    try:
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > VERSION:
            raise HistoryError(f"{path}: written by a newer version of incv3d")
        if version < VERSION:
            raise HistoryError(f"{path}: not a history of incv3d")
        if writable:
            _prepare(connection)
        else:
            connection.execute("PRAGMA query_only = 1")
    except sqlite3.Error as error:
        connection.close()
        raise HistoryError(f"{path}: cannot be read: {error}") from error
    except HistoryError:
        connection.close()
        raise
    return connection


def is_damaged(path: Path) -> bool:
    """Return whether the file is there, and is no intact database."""
    if not path.exists():
        return False
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=5.0)) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",))
    except sqlite3.OperationalError:
        return False  # locked, not readable, or the disk fails: opening it will say so
    except sqlite3.DatabaseError:
        return True


def set_aside(path: Path) -> Path:
    """Give a damaged file another name, so that a new one can be begun; return the new name."""
    aside = path.with_name(f"{path.name}.damaged")
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).replace(aside.with_name(aside.name + suffix))
    return aside


def _quoted(path: Path) -> str:
    return str(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _create(path: Path) -> None:
    """Make an empty history, under its name only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.unlink(missing_ok=True)
    with contextlib.closing(sqlite3.connect(unfinished)) as connection:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.executescript(f"BEGIN; {TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
    unfinished.replace(path)


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    # A power cut may undo the last commit, but never damages the file.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA wal_autocheckpoint = 1000")
    connection.execute("PRAGMA cache_size = -512")


def names_of(connection: sqlite3.Connection) -> Mapping[int, tuple[str, str]]:
    """Return name and synset of each number."""
    rows = connection.execute("SELECT id, name, synset FROM names")
    return {number: (name, synset) for number, name, synset in rows}
