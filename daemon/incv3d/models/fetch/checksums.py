"""Checksums of archives for which none was published: noted at the first fetch, demanded at later ones."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from incv3d.models.entry import ModelError
from incv3d.models.files import write_atomically

FILE = "checksums.json"


class ChecksumRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the first fetch brought."""

    sha256: str
    size_bytes: int
    url: str
    recorded_at: str


def recorded(root: Path, name: str) -> ChecksumRecord | None:
    """What was noted of the model `name` in the store at `root`.

    :raises ModelError: when the file is damaged.
    """
    return _read(root / FILE).get(name)


def record(root: Path, name: str, sha256: str, size_bytes: int, url: str) -> None:
    """Note what a fetch of the model `name` brought, in place of what was noted before.

    One process at a time calls this.

    :raises ModelError: when the file is damaged.
    :raises OSError: when it cannot be written.
    """
    path = root / FILE
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    new = ChecksumRecord(sha256=sha256, size_bytes=size_bytes, url=url, recorded_at=now)
    write_atomically(path, msgspec.json.format(msgspec.json.encode({**_read(path), name: new})) + b"\n")


def _read(path: Path) -> dict[str, ChecksumRecord]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, ChecksumRecord])
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelError(
            f"{path}: damaged ({error}); remove it, and the next fetch is taken as the first"
        ) from None
