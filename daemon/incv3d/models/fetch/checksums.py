"""Record checksums of archives without a published one: noted by the first fetch, required by later ones."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from incv3d.clock import timestamp
from incv3d.models.entry import ModelError
from incv3d.models.files import write_atomically

FILE = "checksums.json"


class ChecksumRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The result of the first fetch."""

    sha256: str
    size_bytes: int
    url: str
    recorded_at: str


def find_record(root: Path, name: str) -> ChecksumRecord | None:
    """Return the record of the model `name` in the store at `root`.

    :raises ModelError: the file is damaged.
    """
    return _read(root / FILE).get(name)


def save_record(root: Path, name: str, sha256: str, size_bytes: int, url: str) -> None:
    """Record the result of a fetch of the model `name`, replacing an older record.

    Must be called by one process at a time.

    :raises ModelError: the file is damaged.
    :raises OSError: the file cannot be written.
    """
    path = root / FILE
    now = timestamp(time.time())
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
            f"{path}: damaged ({error}); remove it; the next fetch will then count as the first"
        ) from None
