"""Read members of a tar archive that nobody vouches for."""

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
"""What :mod:`tarfile` raises of an archive that is damaged or none."""

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
"""Headers that say something of the next one; :mod:`tarfile` reads them into memory, whatever their size."""
GZIP = b"\x1f\x8b"


class Header(tarfile.TarInfo):
    """A member's header, looked at before :mod:`tarfile` acts on it."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str | None, errors: str) -> Self:
        """The header in a block of 512 bytes.

        :raises tarfile.ReadError: when its size is none, or more than such a header can need.
        """
        header = super().frombuf(buf, encoding, errors)  # type: ignore[arg-type]
        if header.size < 0 or (header.type in EXTENSIONS and header.size > LARGEST_EXTENSION):
            raise tarfile.ReadError(f"a header that says {header.size} bytes")
        return header


def open_archive(path: Path) -> tarfile.TarFile:
    """Open a tar archive as a stream, compressed with gzip or not at all.

    Other compressions are not looked for: some take any amount of memory at the archive's word.

    :raises OSError: when it cannot be read.
    :raises tarfile.TarError: when it is none.
    """
    with path.open("rb") as file:
        compressed = file.read(len(GZIP)) == GZIP
    try:
        return tarfile.open(path, "r|gz" if compressed else "r|", tarinfo=Header)
    except TypeError:
        # How Python's tarfile says that the header of gzip is cut off.
        raise tarfile.ReadError("its header is cut off") from None


def is_archive(path: Path) -> bool:
    """Whether the file at `path` begins as a tar archive does.

    :raises ModelError: when it cannot be read.
    """
    try:
        with open_archive(path) as archive:
            return archive.next() is not None
    except OSError as error:
        # gzip's own complaint of a file that is none has no errno
        if error.errno is None:
            return False
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    except DAMAGE:
        return False


class Archive:
    """A ``.tgz`` from which files are read by their base name; its paths, links and modes mean nothing.

    :param path: the archive.
    :param wanted: base names of the members to be found, and how many bytes each may have at most.
    """

    def __init__(self, path: Path, wanted: dict[str, int]) -> None:
        self._path = path
        self._wanted = wanted

    def members(self) -> Iterator[tuple[str, IO[bytes]]]:
        """Every wanted member, in the archive's order: its base name and its bytes as a stream.

        :raises ModelError: when the archive is damaged, or a member is larger than it may be.
        """
        with self._errors_explained(), open_archive(self._path) as archive:
            read = 0
            found: set[str] = set()
            for number, member in enumerate(archive):
                # Skipping a member unpacks it too: a bomb need not be one of the wanted ones.
                read += member.size
                if number >= MOST_MEMBERS or member.size < 0 or read > LARGEST_ARCHIVE:
                    raise ModelError(f"{self._path}: unpacks to more than a model can be; refused")
                name = PurePosixPath(member.name).name
                if not member.isreg() or member.issparse() or name not in self._wanted:
                    continue
                if name in found:
                    raise ModelError(f"{self._path}: there are two {name} in it")
                found.add(name)
                if member.size > self._wanted[name]:
                    raise ModelError(
                        f"{self._path}: its {name} has {member.size} bytes, more than a model can have"
                    )
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

        :raises ModelError: when the archive is damaged there.
        """
        with target.open("wb") as out:
            try:
                shutil.copyfileobj(stream, out, CHUNK_BYTES)
            except DAMAGE as error:
                raise ModelError(f"{self._path}: damaged: {error}") from None
