"""Read members of an untrusted tar archive."""

from __future__ import annotations

import contextlib
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from incv3d.models.entry import ModelError

if TYPE_CHECKING:
    from typing import Self

DAMAGE = (tarfile.TarError, EOFError, zlib.error, ValueError, RecursionError)
"""The exceptions that :mod:`tarfile` raises for a damaged file, or one that is not an archive."""

LARGEST_ARCHIVE = 2 << 30
MOST_MEMBERS = 1000
CHUNK_BYTES = 1 << 20
LARGEST_EXTENSION = 1 << 16
EXTENSIONS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
"""Headers that describe the next one; :mod:`tarfile` reads them into memory, whatever their size."""
GZIP = b"\x1f\x8b"


class Header(tarfile.TarInfo):
    """The header of a member, checked before :mod:`tarfile` uses it."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str | None, errors: str) -> Self:
        """Parse a header from a block of 512 bytes.

        :raises tarfile.ReadError: its size is negative, or larger than such a header can need.
        """
        header = super().frombuf(buf, encoding, errors)  # type: ignore[arg-type]
        if header.size < 0 or (header.type in EXTENSIONS and header.size > LARGEST_EXTENSION):
            raise tarfile.ReadError(f"a header with an invalid size of {header.size} bytes")
        return header


def open_archive(path: Path) -> tarfile.TarFile:
    """Open a tar archive as a stream, with gzip compression or without.

    Other compressions are not supported: with some, an archive can claim any amount of memory.

    :raises OSError: the file cannot be read.
    :raises tarfile.TarError: the file is not a tar archive.
    """
    with path.open("rb") as file:
        compressed = file.read(len(GZIP)) == GZIP
    try:
        return tarfile.open(path, "r|gz" if compressed else "r|", tarinfo=Header)
    except TypeError:
        # The words of Python's tarfile for a truncated gzip header.
        raise tarfile.ReadError("its header is cut off") from None


def is_archive(path: Path) -> bool:
    """Return whether the file at `path` begins like a tar archive.

    :raises ModelError: the file cannot be read.
    """
    try:
        with open_archive(path) as archive:
            return archive.next() is not None
    except OSError as error:
        # gzip's own error about a file in another format has no errno
        if error.errno is None:
            return False
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    except DAMAGE:
        return False


class Archive:
    """A ``.tgz`` whose files are read by base name; paths, links and modes are ignored.

    :param path: the archive's path.
    :param wanted: base names of the members to find, with the maximum size of each in bytes.
    """

    def __init__(self, path: Path, wanted: dict[str, int]) -> None:
        self._path = path
        self._wanted = wanted

    def members(self) -> Iterator[tuple[str, IO[bytes]]]:
        """Yield the base name and a stream of each wanted member, in the archive's order.

        :raises ModelError: the archive is damaged, or a member is too large.
        """
        with self._errors_explained(), open_archive(self._path) as archive:
            read = 0
            found: set[str] = set()
            for number, member in enumerate(archive):
                # Skipping a member unpacks it, too, so any member can be a zip bomb.
                read += member.size
                if number >= MOST_MEMBERS or member.size < 0 or read > LARGEST_ARCHIVE:
                    raise ModelError(f"{self._path}: rejected: unpacks to more than a model can have")
                name = PurePosixPath(member.name).name
                if not member.isreg() or member.issparse() or name not in self._wanted:
                    continue
                if name in found:
                    raise ModelError(f"{self._path}: contains {name} twice")
                found.add(name)
                if member.size > self._wanted[name]:
                    raise ModelError(f"{self._path}: its {name} has {member.size} bytes, more than the limit")
                stream = archive.extractfile(member)
                if stream is not None:
                    yield name, stream

    @contextlib.contextmanager
    def _errors_explained(self) -> Iterator[None]:
        try:
            yield
        except DAMAGE as error:
            raise ModelError(f"{self._path}: not an archive, or damaged: {error}") from None
        except OSError as error:
            raise ModelError(f"{self._path}: cannot be read: {error.strerror or error}") from None

    def save(self, stream: IO[bytes], target: Path) -> None:
        """Write a member to the file `target`.

        :raises ModelError: the archive is damaged.
        """
        with target.open("wb") as out:
            try:
                shutil.copyfileobj(stream, out, CHUNK_BYTES)
            except DAMAGE as error:
                raise ModelError(f"{self._path}: damaged: {error}") from None
