"""Read members of a tar archive that nobody vouches for."""

from __future__ import annotations

import contextlib
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from incv3d.models.entry import ModelError

DAMAGE = (tarfile.TarError, EOFError, zlib.error, ValueError)
"""What :mod:`tarfile` raises of an archive that is damaged or none."""

LARGEST_ARCHIVE = 2 << 30
MOST_MEMBERS = 1000
CHUNK_BYTES = 1 << 20


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
        with self._errors_explained(), tarfile.open(self._path, "r|*") as archive:
            read = 0
            for number, member in enumerate(archive):
                # Skipping a member unpacks it too: a bomb need not be one of the wanted ones.
                read += member.size
                if number >= MOST_MEMBERS or read > LARGEST_ARCHIVE:
                    raise ModelError(f"{self._path}: unpacks to more than a model can be; refused")
                name = PurePosixPath(member.name).name
                if not member.isreg() or name not in self._wanted:
                    continue
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
