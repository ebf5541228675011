"""Describe a taught model in the store: its head, the facts about it, and its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from incv3d.models.entry import ModelError
from incv3d.models.files import sha256_of

if TYPE_CHECKING:
    from incv3d.models.taught.head import Head

FACTS = "facts.json"
HEAD = "head.npz"
REPORT = "report.json"
GOLDEN = "golden"
FORMAT = 1
"""The layout of the folder; a newer incv3d may write a newer one."""


class GoldenPicture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A taught picture and its class: it must get that class at every start."""

    sha256: str
    label: str = msgspec.field(name="class")


class HeadFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a head was taught on, and how good it is."""

    name: str
    base: str
    """The name of the base model."""
    base_sha256: str
    """SHA-256 of the base's network."""
    precision: str
    """The number format of the Session that computed the features, such as ``int8``."""
    fit: Literal["stretch", "crop"]
    crop_fraction: float
    """``crop``: the side of the square as a fraction of the image's shorter side."""
    classes: tuple[str, ...]
    counts: tuple[int, ...]
    """Number of pictures of each class."""
    groups: tuple[int, ...]
    """Number of groups of each class."""
    taught_at: str
    accuracy: float | None = None
    """Share of left-out pictures that got their class; None: there were too few to estimate it."""
    low: float | None = None
    """The lower end of its 95 % interval."""
    high: float | None = None
    golden: GoldenPicture | None = None
    head_sha256: str = ""
    """Checksum of the file ``head.npz``; :meth:`TaughtStore.save` fills it in."""


class Version(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One head of a taught model: the folder that holds its files, and its facts."""

    folder: str
    facts: HeadFacts


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of ``facts.json``. Replacing this file is the one step in which a head takes over."""

    format: int
    now: Version
    before: Version | None
    """The head that was there before; :meth:`TaughtStore.revert` returns to it."""


@dataclass(frozen=True, slots=True)
class TaughtModel:
    """A taught model in the store."""

    name: str
    directory: Path
    """The folder of the name, with everything that teaching keeps."""
    record: Record

    @property
    def facts(self) -> HeadFacts:
        """The facts of its head."""
        return self.record.now.facts

    @property
    def before(self) -> HeadFacts | None:
        """The facts of the head before; None: there was none."""
        return self.record.before.facts if self.record.before else None

    @property
    def folder(self) -> Path:
        """The folder with the files of its head."""
        return self.directory / self.record.now.folder

    def head(self) -> Head:
        """Read its head.

        :raises ModelError: it is damaged; the message says what to do.
        """
        from incv3d.models.taught.head import read_head  # needs NumPy

        path = self.folder / HEAD
        try:
            head = read_head(path)
        except ModelError as error:
            raise ModelError(f"{error}; {self._ways_out()}") from None
        if head.classes != self.facts.classes:
            raise ModelError(f"{path}: damaged (its classes are not those of {FACTS}); {self._ways_out()}")
        return head

    def head_before(self) -> Head | None:
        """Read the head before; None: there was none, or it is damaged."""
        from incv3d.models.taught.head import read_head

        if self.record.before is None:
            return None
        try:
            return read_head(self.directory / self.record.before.folder / HEAD)
        except ModelError:
            return None

    def report(self) -> bytes:
        """Return its report, JSON.

        :raises ModelError: it cannot be read.
        """
        return self._read(REPORT)

    def golden(self) -> bytes | None:
        """Return the golden picture; None: it has none.

        :raises ModelError: it cannot be read.
        """
        return self._read(GOLDEN) if self.facts.golden else None

    def check_base(self, sha256: str) -> None:
        """Raise ModelError unless `sha256` is that of the network that its head was taught on."""
        if sha256 != self.facts.base_sha256:
            raise ModelError(
                f"{self.name} was taught on another {self.facts.base}; teach it again: "
                f"incv3d teach FOLDER --name {self.name} --base {self.facts.base}"
            )

    def damages(self) -> list[str]:
        """Return what is wrong with its files, one line each; empty: nothing."""
        try:
            self.head()
            self.report()
            self.golden()
        except ModelError as error:
            return [str(error)]
        checked = [(HEAD, self.facts.head_sha256)]
        if self.facts.golden:
            checked.append((GOLDEN, self.facts.golden.sha256))
        return [
            f"{self.folder / name}: damaged: its SHA-256 differs; {self._ways_out()}"
            for name, sha256 in checked
            if sha256_of(self.folder / name) != sha256
        ]

    def _read(self, name: str) -> bytes:
        path = self.folder / name
        try:
            return path.read_bytes()
        except OSError as error:
            raise ModelError(f"{path}: cannot be read: {error.strerror}; {self._ways_out()}") from None

    def _ways_out(self) -> str:
        again = f"teach it again: incv3d teach FOLDER --name {self.name} --base {self.facts.base}"
        back = f", or return to the head before: incv3d teach revert {self.name}" if self.before else ""
        return again + back


def read_model(directory: Path) -> TaughtModel:
    """Return the taught model in `directory`, reading only its facts.

    :raises ModelError: they are damaged.
    """
    path = directory / FACTS
    try:
        record = msgspec.json.decode(path.read_bytes(), type=Record)
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelError(
            f"{path}: damaged ({error}); teach it again: "
            f"incv3d teach FOLDER --name {directory.name} --base MODEL"
        ) from None
    if record.format != FORMAT:
        raise ModelError(f"{path}: format {record.format} is not known; a newer incv3d wrote it")
    return TaughtModel(directory.name, directory, record)
