"""The model store: one folder a model, written whole or not at all."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from incv3d.engines.base import SessionSpec
from incv3d.models.entry import ModelEntry, ModelError
from incv3d.models.files import locked, sha256_of, sync

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
MANIFEST = "manifest.json"
GRAPH = "graph.pb"
FLATBUFFER = "model.tflite"
NETWORKS = {"graphdef": GRAPH, "tflite": FLATBUFFER}
"""The file that holds the network, by the format that a model's entry says."""
LABELS = "labels.tsv"
UNFINISHED = ".unfinished-"


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What is written beside a model; its presence says that the model is whole."""

    manifest: int
    entry: ModelEntry
    sha256: str
    size_bytes: int
    imported_at: str
    made_by: str = ""
    """For a model that incv3d made itself: the maker and its version."""
    labels_sha256: str = ""
    """Of the labels; empty in manifests from before it was noted."""
    golden_sha256: str = ""
    """Of the golden picture; empty where there is none, and in manifests from before it was noted."""


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model in the store."""

    name: str
    directory: Path
    manifest: Manifest

    @property
    def entry(self) -> ModelEntry:
        """Its tensors, input and outputs."""
        return self.manifest.entry

    @property
    def network(self) -> Path:
        """The frozen GraphDef, or the LiteRT flatbuffer."""
        return self.directory / NETWORKS[self.entry.format]

    @property
    def labels(self) -> Path:
        """The names of its outputs."""
        return self.directory / LABELS

    @property
    def size_bytes(self) -> int:
        """Size of the network's file."""
        return self.manifest.size_bytes

    def session_spec(self, threads: int) -> SessionSpec:
        """What a Session of this model is opened with."""
        entry = self.entry
        return SessionSpec(
            file=self.network,
            format=entry.format,
            input=entry.input,
            output=entry.output,
            height=entry.height,
            width=entry.width,
            threads=threads,
            layout=entry.layout,
            channels=entry.channels,
            jpeg_input=entry.in_graph.jpeg if entry.in_graph else "",
            picture_input=entry.in_graph.picture if entry.in_graph else "",
        )


class ModelStore:
    """The models under ``ROOT/models``.

    A model is made in a folder of its own and moved to its name when it is whole: whatever happens
    meanwhile, a later start finds the old one, the new one, or none.

    :param root: made when the first model is added.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._models = root / "models"

    def models(self) -> list[StoredModel]:
        """Return every model that can be read, by name; :meth:`damages` names the others."""
        return self._look()[0]

    def damages(self) -> dict[str, ModelError]:
        """Return what is wrong with each model that cannot be read, by its name."""
        return self._look()[1]

    def _look(self) -> tuple[list[StoredModel], dict[str, ModelError]]:
        whole, damaged = [], {}
        for name in self.names():
            try:
                whole.append(self._read(self._models / name))
            except ModelError as error:
                damaged[name] = error
        return whole, damaged

    def names(self) -> list[str]:
        """Return the names of all models, whole or damaged; their manifests are not read for it."""
        try:
            names = sorted(path.name for path in self._models.iterdir() if NAME.fullmatch(path.name))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ModelError(f"{self._models}: cannot be read: {error.strerror}") from None
        return [name for name in names if self._is_model(name)]

    def find(self, name: str) -> StoredModel | None:
        """Return the model called `name`, of which only the manifest is read; None: it is not there.

        :raises ModelError: when it is damaged.
        """
        return self._read(self._models / name) if self._is_model(check_name(name)) else None

    def _is_model(self, name: str) -> bool:
        """Whether there is a model of this name; one that may not be looked at counts."""
        try:
            (self._models / name / MANIFEST).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    def get(self, name: str) -> StoredModel:
        """The model called `name`.

        :raises ModelError: when it is not there, or damaged.
        """
        model = self.find(name)
        if model is None:
            there = ", ".join(self.names()) or "none"
            raise ModelError(
                f"no model `{name}` in {self.root} (there: {there}); "
                f"import it: incv3d model import FILE --name {name}"
            )
        try:
            size_bytes = model.network.stat().st_size
        except FileNotFoundError:
            size_bytes = 0
        except OSError as error:
            raise ModelError(f"{model.network}: cannot be read: {error.strerror}") from None
        if size_bytes != model.size_bytes:
            raise ModelError(
                f"{model.network}: {size_bytes} bytes, it had {model.size_bytes} when it was imported; "
                f"import it again: incv3d model import FILE --name {name} --replace"
            )
        return model

    @contextlib.contextmanager
    def adding(
        self,
        name: str,
        entry: ModelEntry,
        replace: bool = False,
        made_by: str = "",
        check: Callable[[StoredModel], None] = lambda model: None,
    ) -> Iterator[Path]:
        """Add a model: write the network's file and ``labels.tsv`` into the folder that is handed out.

        When the block ends well, the model is in the store; when it does not, nothing is.

        :param replace: whether a model of this name may be there already.
        :param made_by: what made the model, for one that incv3d made itself.
        :param check: told of the model before it gets its name; what it raises keeps it out of the store.
        :raises ModelError: when it is there, or the store cannot be written.
        """
        target = self._models / check_name(name)
        with self._errors_explained(), self._locked():
            if (target / MANIFEST).exists() and not replace:
                raise ModelError(f"there is a model `{name}` already; replace it with --replace")
            for left in self._models.glob(f"{UNFINISHED}*"):  # by killed attempts: the lock says so
                shutil.rmtree(left, ignore_errors=True)
            folder = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self._models))
            try:
                yield folder
                self._finish(folder, target, entry, made_by, check)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def exclusively(self) -> Iterator[None]:
        """Let one process at a time make something that belongs into the store.

        Whoever had to wait looks again first: another has probably made it meanwhile.

        :raises ModelError: when the store cannot be written.
        """
        with self._errors_explained(), self._locked(".making"):
            yield

    @contextlib.contextmanager
    def workshop(self, name: str) -> Iterator[Path]:
        """A folder on the store's own disk for work that takes long, `name`; one process at a time has it.

        It is gone afterwards, and so is what a killed process left of its own.

        :raises ModelError: when another process has it, or the store cannot be written.
        """
        folder = self.root / f".{name}"
        with self._errors_explained(), self._locked(f".{name}", wait=False):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def attach(self, model: StoredModel, folder: Path) -> None:
        """Move `folder`, which was made of `model`, into the model's own, in place of one of that name.

        :raises ModelError: when the model is another one by now, or the store cannot be written.
        """
        with self._errors_explained(), self._locked():
            now = self._models / model.name
            if not (now / MANIFEST).exists() or self._read(now).manifest != model.manifest:
                raise ModelError(f"{model.name} was replaced or removed meanwhile; begin again")
            folder.chmod(0o755)
            for path in (*folder.rglob("*"), folder):
                sync(path)
            if (now / folder.name).exists():
                self._discard(now / folder.name)
            folder.rename(now / folder.name)
            sync(now)

    def detach(self, model: StoredModel, name: str) -> None:
        """Remove what was attached to `model` as `name`.

        :raises ModelError: when there is no such thing, or the store cannot be written.
        """
        target = model.directory / name
        if not target.is_dir():
            raise ModelError(f"{model.name} has no {name}")
        with self._errors_explained(), self._locked():
            self._discard(target)

    def remove(self, name: str) -> None:
        """Remove the model called `name`.

        :raises ModelError: when it is not there, or the store cannot be written.
        """
        target = self._models / check_name(name)
        if not target.is_dir():
            raise ModelError(f"no model `{name}` in {self.root}")
        with self._errors_explained(), self._locked():
            self._discard(target)

    def _finish(
        self,
        folder: Path,
        target: Path,
        entry: ModelEntry,
        made_by: str,
        check: Callable[[StoredModel], None],
    ) -> None:
        network = folder / NETWORKS[entry.format]
        picture = folder / entry.golden.picture if entry.golden else None
        manifest = Manifest(
            manifest=1,
            entry=entry,
            sha256=sha256_of(network),
            size_bytes=network.stat().st_size,
            imported_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            made_by=made_by,
            labels_sha256=sha256_of(folder / LABELS),
            golden_sha256=sha256_of(picture) if picture and picture.is_file() else "",
        )
        (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        folder.chmod(0o755)
        check(StoredModel(target.name, folder, manifest))
        for path in (*folder.rglob("*"), folder):
            sync(path)
        if target.exists():
            self._discard(target)
        folder.rename(target)
        sync(self._models)

    def _discard(self, target: Path) -> None:
        # Moved away in one step, so that no start ever sees half of it.
        grave = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self._models))
        target.rename(grave / "model")
        shutil.rmtree(grave)

    @contextlib.contextmanager
    def _locked(self, name: str = ".lock", wait: bool = True) -> Iterator[None]:
        self._models.mkdir(parents=True, exist_ok=True)
        with locked(self._models / name, wait):
            yield

    @contextlib.contextmanager
    def _errors_explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = error.filename or self._models
            raise ModelError(f"{where}: cannot be written: {error.strerror}") from None

    def _read(self, folder: Path) -> StoredModel:
        path = folder / MANIFEST
        try:
            manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
        except OSError as error:
            raise ModelError(f"{path}: cannot be read: {error.strerror}") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ModelError(
                f"{path}: damaged ({error}); remove it: incv3d model remove {folder.name}"
            ) from None
        return StoredModel(folder.name, folder, manifest)


def check_name(name: str) -> str:
    """`name`, if a model can be called that.

    :raises ModelError: when it cannot.
    """
    if not NAME.fullmatch(name):
        raise ModelError(
            f"`{name}` is no name for a model: small letters, digits, '.', '_' and '-', at most 64"
        )
    return name
