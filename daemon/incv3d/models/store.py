"""Store models on disk: one folder per model, written atomically."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from incv3d.clock import timestamp
from incv3d.engines.base import ModelFormat, SessionSpec
from incv3d.models.entry import ModelEntry, ModelError
from incv3d.models.files import hold_lock, put, sha256_of, sync
from incv3d.models.names import NAME, UNFINISHED, check_name
from incv3d.models.taught.store import TaughtStore

MANIFEST = "manifest.json"
GRAPH = "graph.pb"
FLATBUFFER = "model.tflite"
ONNX = "model.onnx"
NETWORKS: dict[ModelFormat, str] = {"graphdef": GRAPH, "tflite": FLATBUFFER, "onnx": ONNX}
"""The network's file by the format in a model's entry."""
LABELS = "labels.tsv"


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The description of a stored model. It is written last, so its presence means that the model is
    complete."""

    manifest: int
    entry: ModelEntry
    sha256: str
    size_bytes: int
    imported_at: str
    made_by: str = ""
    """The maker and its version, if incv3d made the model."""
    labels_sha256: str = ""
    """Checksum of the labels; empty in manifests of older versions."""
    golden_sha256: str = ""
    """Checksum of the golden image; empty if there is none, and in manifests of older versions."""


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model in the store."""

    name: str
    directory: Path
    manifest: Manifest

    @property
    def entry(self) -> ModelEntry:
        """The tensors, input and outputs of the model."""
        return self.manifest.entry

    @property
    def network(self) -> Path:
        """The path of the network's file."""
        return self.directory / NETWORKS[self.entry.format]

    @property
    def labels(self) -> Path:
        """The path of the labels file."""
        return self.directory / LABELS

    @property
    def size_bytes(self) -> int:
        """Size of the network's file."""
        return self.manifest.size_bytes

    def session_spec(self, threads: int) -> SessionSpec:
        """Return the spec for a Session of this model."""
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
            image_input=entry.in_graph.image if entry.in_graph else "",
        )


class ModelStore:
    """The models under ``ROOT/models``.

    A model is made in a temporary folder and renamed when it is complete, so that after any interruption
    there is the old model, the new one, or none.

    :param root: created when the first model is added.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._models = root / "models"

    def models(self) -> list[StoredModel]:
        """Return every readable model, ordered by name; :meth:`damages` returns the others."""
        return self._look()[0]

    def read_errors(self) -> dict[str, ModelError]:
        """Return the error of each model that cannot be read, by name."""
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
        """Return the names of all models, complete or damaged, without reading their manifests."""
        try:
            names = sorted(path.name for path in self._models.iterdir() if NAME.fullmatch(path.name))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ModelError(f"{self._models}: cannot be read: {error.strerror}") from None
        return [name for name in names if self._is_model(name)]

    def find(self, name: str) -> StoredModel | None:
        """Return the model called `name`, reading only its manifest, or None if it is not there.

        :raises ModelError: it is damaged.
        """
        return self._read(self._models / name) if self._is_model(check_name(name)) else None

    def _is_model(self, name: str) -> bool:
        """Return whether there is a model of this name, even if its permissions prevent a look at it."""
        try:
            (self._models / name / MANIFEST).lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        return True

    def get(self, name: str) -> StoredModel:
        """Return the model called `name`.

        :raises ModelError: it is missing or damaged.
        """
        model = self.find(name)
        if model is None:
            if taught := TaughtStore(self.root).find(name):
                raise ModelError(
                    f"{name} is a taught model; name its base model instead: {taught.facts.base}"
                )
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
                f"{model.network}: damaged: {size_bytes} bytes instead of {model.size_bytes}; "
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
        """Add a model: yield a folder for the network's file and ``labels.tsv``.

        The model is in the store when the block ends; if it raises, the store is unchanged.

        :param replace: replace an existing model of this name.
        :param made_by: the maker, if incv3d made the model itself.
        :param check: called with the model before it gets its name; an exception cancels the addition.
        :raises ModelError: the model exists already, or the store cannot be written.
        """
        target = self._models / check_name(name)
        with self._errors_explained(), self._locked():
            if (target / MANIFEST).exists() and not replace:
                raise ModelError(f"the model `{name}` exists already; to replace it, use --replace")
            if TaughtStore(self.root).folder(name).exists():
                raise ModelError(f"`{name}` is the name of a taught model; choose another name")
            # left by killed processes: this one holds the lock
            for left in self._models.glob(f"{UNFINISHED}*"):
                shutil.rmtree(left, ignore_errors=True)
            folder = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self._models))
            try:
                yield folder
                self._finish(folder, target, entry, made_by, check)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    @contextlib.contextmanager
    def exclusively(self) -> Iterator[None]:
        """Hold the lock under which one process at a time makes something for the store.

        A caller that had to wait must check again: another process has probably made it.

        :raises ModelError: the store cannot be written.
        """
        with self._errors_explained(), self._locked(".making"):
            yield

    @contextlib.contextmanager
    def scratch_folder(self, name: str) -> Iterator[Path]:
        """Yield a scratch folder `name` on the store's disk for long work; one process at a time can use it.

        It is removed afterwards, with any leftovers of a killed process.

        :raises ModelError: another process uses it, or the store cannot be written.
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
        """Move `folder`, which was made from `model`, into the model's folder, replacing one of the same
        name.

        :raises ModelError: the model has been replaced, or the store cannot be written.
        """
        with self._errors_explained(), self._locked():
            now = self._models / model.name
            if not (now / MANIFEST).exists() or self._read(now).manifest != model.manifest:
                raise ModelError(f"{model.name} was replaced or removed in the meantime; start again")
            folder.chmod(0o755)
            for path in (*folder.rglob("*"), folder):
                sync(path)
            put(folder, now / folder.name)
            sync(now)

    def detach(self, model: StoredModel, name: str) -> None:
        """Remove the folder attached to `model` as `name`.

        :raises ModelError: there is no such folder, or the store cannot be written.
        """
        target = model.directory / name
        if not target.is_dir():
            raise ModelError(f"{model.name} has no {name}")
        with self._errors_explained(), self._locked():
            self._discard(target)

    def remove(self, name: str) -> None:
        """Remove the model called `name`.

        :raises ModelError: it is missing, a taught model needs it, or the store cannot be written.
        """
        target = self._models / check_name(name)
        if not target.is_dir():
            raise ModelError(f"no model `{name}` in {self.root}")
        if taught := TaughtStore(self.root).taught_on(name):
            raise ModelError(
                f"{name} is the base of {', '.join(taught)}; first: incv3d model remove {taught[0]}"
            )
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
        image = folder / entry.golden.image if entry.golden else None
        manifest = Manifest(
            manifest=1,
            entry=entry,
            sha256=sha256_of(network),
            size_bytes=network.stat().st_size,
            imported_at=timestamp(time.time()),
            made_by=made_by,
            labels_sha256=sha256_of(folder / LABELS),
            golden_sha256=sha256_of(image) if image and image.is_file() else "",
        )
        (folder / MANIFEST).write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        folder.chmod(0o755)
        check(StoredModel(target.name, folder, manifest))
        for path in (*folder.rglob("*"), folder):
            sync(path)
        put(folder, target)
        sync(self._models)

    def _discard(self, target: Path) -> None:
        # Renamed first, in one step, so that no start sees a partly removed model.
        grave = Path(tempfile.mkdtemp(prefix=UNFINISHED, dir=self._models))
        target.rename(grave / "model")
        shutil.rmtree(grave)

    @contextlib.contextmanager
    def _locked(self, name: str = ".lock", wait: bool = True) -> Iterator[None]:
        self._models.mkdir(parents=True, exist_ok=True)
        with hold_lock(self._models / name, wait):
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
