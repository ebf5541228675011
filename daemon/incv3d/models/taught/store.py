"""Store taught models on disk: one folder per name, every change in one step."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from incv3d.models.entry import ModelError
from incv3d.models.files import hold_lock, sha256_of, sync, write_atomically
from incv3d.models.names import NAME, UNFINISHED, check_name
from incv3d.models.taught.model import (
    FACTS,
    FORMAT,
    GOLDEN,
    HEAD,
    REPORT,
    HeadFacts,
    Record,
    TaughtModel,
    Version,
    read_model,
)

if TYPE_CHECKING:
    from incv3d.models.taught.head import Head

HEADS = "head-"
"""How names of folders begin that hold the files of one head."""
SELECTED = ".selected"
"""The file with the name of the taught model that ``model.name: auto`` means."""


class TaughtStore:
    """The taught models under ``ROOT/taught``, beside the models of the store.

    A head and its report are written into a folder of their own, and then ``facts.json`` is replaced, so
    that after any interruption there is the old head or the new one. The rest of the folder is of teaching:
    the pictures, their features, the description of the set. It may be there before there is a head.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._taught = root / "taught"

    def folder(self, name: str) -> Path:
        """Return the folder of `name`, which need not be there.

        :raises ModelError: the name is not valid.
        """
        return self._taught / check_name(name)

    def names(self) -> list[str]:
        """Return the names of all taught models, complete or damaged."""
        try:
            found = sorted(path.name for path in self._taught.iterdir() if NAME.fullmatch(path.name))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ModelError(f"{self._taught}: cannot be read: {error.strerror}") from None
        return [name for name in found if (self._taught / name / FACTS).exists()]

    def begun(self) -> list[str]:
        """Return the names of all teaching sets, ordered; some may have no head yet."""
        try:
            return sorted(each.name for each in self._taught.iterdir() if NAME.fullmatch(each.name))
        except OSError:
            return []

    def select(self, name: str) -> None:
        """Let ``model.name: auto`` mean the taught model `name`.

        :raises ModelError: there is none, or the store cannot be written.
        """
        with self._errors_explained():
            write_atomically(self._taught / SELECTED, self.get(name).name.encode())

    def selected(self) -> str:
        """Return the taught model that ``model.name: auto`` means; empty: none."""
        try:
            name = (self._taught / SELECTED).read_text("utf-8")
        except (OSError, UnicodeDecodeError):
            return ""
        return name if name in self.names() else ""

    def models(self) -> list[TaughtModel]:
        """Return every readable taught model, ordered by name; :meth:`read_errors` has the others."""
        return self._look()[0]

    def read_errors(self) -> dict[str, ModelError]:
        """Return the error of each taught model whose facts cannot be read, by name."""
        return self._look()[1]

    def find(self, name: str) -> TaughtModel | None:
        """Return the taught model `name`, reading only its facts; None: there is no such one.

        :raises ModelError: it is damaged.
        """
        folder = self.folder(name)
        return read_model(folder) if (folder / FACTS).exists() else None

    def find_whole(self, name: str) -> TaughtModel | None:
        """Return the taught model `name`, as :meth:`find` does; None also if it is damaged.

        For teaching it again, which replaces it.
        """
        try:
            return self.find(name)
        except ModelError:
            return None

    def get(self, name: str) -> TaughtModel:
        """Return the taught model `name`, reading only its facts.

        :raises ModelError: it is missing or damaged.
        """
        found = self.find(name)
        if found is None:
            there = ", ".join(self.names()) or "none"
            raise ModelError(
                f"no taught model `{name}` in {self._taught} (there: {there}); "
                f"teach it: incv3d teach FOLDER --name {name}"
            )
        return found

    def taught_on(self, base: str) -> list[str]:
        """Return the names of the taught models whose base model is `base`."""
        return [each.name for each in self.models() if each.facts.base == base]

    def check_free(self, name: str) -> None:
        """Raise ModelError if a model of the store, or a known one, has this name."""
        from incv3d.models.catalog import load_catalog  # here because it takes time

        if name in ("auto", "custom") or name in load_catalog() or (self.root / "models" / name).exists():
            raise ModelError(f"`{name}` is the name of a model; choose another name for the taught one")

    def save(self, head: Head, facts: HeadFacts, report: bytes, golden: bytes = b"") -> TaughtModel:
        """Make `head` the head of ``facts.name``, and keep the one that was there as the one before.

        :param report: JSON.
        :param golden: the golden picture, whose checksum the facts have.
        :raises ModelError: a model has this name, or the store cannot be written; nothing has changed then.
        """
        self.check_free(facts.name)
        with self._changing(facts.name) as directory:
            old = _record(directory)  # damaged facts are replaced
            folder = Path(tempfile.mkdtemp(prefix=HEADS, dir=directory))
            for name, content in ((HEAD, head.to_bytes()), (REPORT, report), (GOLDEN, golden)):
                if content:
                    (folder / name).write_bytes(content)
                    sync(folder / name)
            folder.chmod(0o755)
            sync(folder)
            facts = msgspec.structs.replace(facts, head_sha256=sha256_of(folder / HEAD))
            now = Version(folder=folder.name, facts=facts)
            record = Record(format=FORMAT, now=now, before=old.now if old else None)
            self._write(directory, record)
        return TaughtModel(facts.name, directory, record)

    def revert(self, name: str) -> TaughtModel:
        """Return to the head before; the one that was there becomes the one before.

        :raises ModelError: there is no head before, or the store cannot be written.
        """
        with self._changing(self.get(name).name) as directory:
            record = read_model(directory).record
            if record.before is None:
                raise ModelError(f"{name} has only one head: there is none to return to")
            swapped = Record(format=FORMAT, now=record.before, before=record.now)
            self._write(directory, swapped)
        return TaughtModel(name, directory, swapped)

    def remove(self, name: str) -> None:
        """Remove the taught model `name` with its pictures.

        :raises ModelError: there is none, or the store cannot be written.
        """
        if not self.folder(name).is_dir():
            raise ModelError(f"no taught model `{name}` in {self._taught}")
        with self._changing(name) as directory:
            # renamed first, in one step, so that no start sees a partly removed model
            grave = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self._taught))
            directory.rename(grave / name)
            shutil.rmtree(grave)

    @contextlib.contextmanager
    def teaching(self, name: str) -> Iterator[Path]:
        """Yield the folder of `name`, made if it is missing; one process at a time can teach a name.

        :raises ModelError: a model has this name, another process teaches it, or the store cannot be written.
        """
        self.check_free(name)
        with self._errors_explained():
            directory = self._taught / name
            directory.mkdir(parents=True, exist_ok=True)
            with hold_lock(self._taught / f".{name}.teaching", wait=False):
                yield directory

    @contextlib.contextmanager
    def _changing(self, name: str) -> Iterator[Path]:
        with self._errors_explained():
            self._taught.mkdir(parents=True, exist_ok=True)
            with hold_lock(self._taught / ".lock"):
                directory = self.folder(name)
                directory.mkdir(exist_ok=True)
                # left by killed processes: this one holds the lock
                for left in self._taught.glob(f"{UNFINISHED}*"):
                    shutil.rmtree(left, ignore_errors=True)
                try:
                    yield directory
                finally:
                    _tidy(directory)

    def _write(self, directory: Path, record: Record) -> None:
        sync(directory)
        write_atomically(directory / FACTS, msgspec.json.format(msgspec.json.encode(record)) + b"\n")
        sync(directory)

    @contextlib.contextmanager
    def _errors_explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = error.filename or self._taught
            raise ModelError(f"{where}: cannot be written: {error.strerror}") from None

    def _look(self) -> tuple[list[TaughtModel], dict[str, ModelError]]:
        whole, damaged = [], {}
        for name in self.names():
            try:
                whole.append(read_model(self._taught / name))
            except ModelError as error:
                damaged[name] = error
        return whole, damaged


def _record(directory: Path) -> Record | None:
    """Return the facts of the heads in `directory`; None: there are none, or they are damaged."""
    try:
        return read_model(directory).record if (directory / FACTS).exists() else None
    except ModelError:
        return None


def _tidy(directory: Path) -> None:
    """Remove the heads that the facts do not name, and the folder if nothing else is in it."""
    if not directory.exists():
        return
    record = _record(directory)
    kept = {each.folder for each in (record.now, record.before) if each} if record else set()
    if record or not (directory / FACTS).exists():
        for each in directory.glob(f"{HEADS}*"):
            if each.name not in kept:
                shutil.rmtree(each, ignore_errors=True)
    if not any(directory.iterdir()):
        directory.rmdir()
