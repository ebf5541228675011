"""Export a prepared model to a file and import it on another machine, which then need not prepare it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import msgspec

from incv3d.engines import engine_of, prepared_model
from incv3d.engines.base import SessionError
from incv3d.engines.prepared_model import open_prepared, read_index
from incv3d.models.archive import DAMAGE, MOST_MEMBERS, Archive, open_archive
from incv3d.models.catalog import load_catalog
from incv3d.models.conversions import (
    DESCRIPTION,
    PRECISIONS,
    converted_precisions,
    folder_name,
    open_conversion,
    read_conversion,
)
from incv3d.models.entry import ModelError
from incv3d.models.files import sha256_of
from incv3d.models.graph.operations import check_graph_file
from incv3d.models.prepare import PREPARED, UnpreparableError, compare_prepared, prepare_model
from incv3d.models.store import FLATBUFFER, GRAPH, LABELS, MANIFEST, Manifest, ModelStore, StoredModel

MARK = "incv3d-model.json"
"""The first member of an exported model, its manifest; no other archive has such a member."""
SCRATCH = ".incv3d-export-"
"""A specific name, because leftovers are removed from one of the user's folders."""

MEMBERS = {
    GRAPH: GRAPH,
    LABELS: LABELS,
    f"{PREPARED}-{prepared_model.GRAPH}": f"{PREPARED}/{prepared_model.GRAPH}",
    f"{PREPARED}-{prepared_model.WEIGHTS}": f"{PREPARED}/{prepared_model.WEIGHTS}",
    f"{PREPARED}-{prepared_model.INDEX}": f"{PREPARED}/{prepared_model.INDEX}",
}
"""The other members, and their paths in a model's folder."""

GOLDEN = "golden-picture"
"""The model's golden image, if its entry names one."""

IMAGE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")

CONVERTED = {
    f"{folder_name(each)}-{file}": f"{folder_name(each)}/{file}"
    for each in PRECISIONS
    for file in (FLATBUFFER, DESCRIPTION)
}
"""Members of a model's conversions to LiteRT, and their paths."""
FOLDERS = {str(Path(path).parent) for path in CONVERTED.values()}

LARGEST = {
    **{member: 1 << 20 for member in (MARK, *CONVERTED) if not member.endswith(FLATBUFFER)},
    LABELS: 64 << 20,
    f"{PREPARED}-{prepared_model.INDEX}": 16 << 20,
    GOLDEN: 16 << 20,
}
LARGEST_MODEL = 1 << 30


class ExportManifest(msgspec.Struct, frozen=True, kw_only=True):
    """The content of the first member."""

    name: str
    manifest: Manifest
    """Fields that older versions do not know are left out."""
    sha256: dict[str, str] = {}
    """SHA-256 of the other members by name; empty in archives of older versions."""


def export_model(model: StoredModel, file: Path, progress: Callable[[str], None]) -> None:
    """Write `model` with its prepared form and its conversions to the archive `file`, atomically.

    Prepares the model again, with operations that every processor supports: this machine may have fused
    operations that others lack.

    :raises ModelError: the model cannot be prepared or the file cannot be written.
    """
    if model.entry.format != "graphdef":
        raise ModelError(
            f"{model.name} is {model.entry.network_in_words}, which needs no preparation: copy the file "
            f"itself, and import that"
        )
    if not file.absolute().parent.is_dir():
        raise ModelError(f"{file}: cannot be written: the folder does not exist")
    conversions = [
        open_conversion(model, each).directory.name for each in converted_precisions(model.directory)
    ]
    progress(f"preparing {model.name} for any machine")
    try:
        _sweep(file.absolute().parent)
        with (
            tempfile.TemporaryDirectory(prefix=SCRATCH, dir=file.absolute().parent) as scratch,
            contextlib.ExitStack() as stack,
        ):
            folder = Path(scratch)
            alive = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, alive)
            fcntl.flock(alive, fcntl.LOCK_EX)
            members = _members(file, model.manifest)
            for name in (path for path in members.values() if "/" not in path):
                (folder / name).symlink_to((model.directory / name).absolute())
            prepare_model(model, folder / PREPARED, portable=True)
            converted = [path for path in CONVERTED.items() if Path(path[1]).parent.name in conversions]
            described = ExportManifest(
                name=model.name,
                manifest=msgspec.structs.replace(model.manifest, golden_sha256=""),
                sha256={
                    **{member: sha256_of(folder / path) for member, path in members.items()},
                    **{member: sha256_of(model.directory / path) for member, path in converted},
                },
            )
            (folder / MARK).write_bytes(msgspec.json.encode(described))
            with tarfile.open(folder / "archive", "w", dereference=True) as archive:
                for member, path in {MARK: MARK, **members}.items():
                    archive.add(folder / path, member, filter=_anonymous)
                for member, path in converted:
                    archive.add(model.directory / path, member, filter=_anonymous)
            (folder / "archive").replace(file)
    except OSError as error:
        raise ModelError(f"{error.filename or file}: cannot be written: {error.strerror}") from None


def is_exported(file: Path) -> bool:
    """Return whether `file` was written by :func:`export_model`, or unpacked and packed again.

    The members of a repacked archive may have any order, and lie in a folder.
    """
    known = {MARK, GOLDEN, *MEMBERS, *CONVERTED}
    try:
        with open_archive(file) as archive:
            for number, member in enumerate(archive):
                name = PurePosixPath(member.name).name
                if name == MARK and member.isreg():
                    return True
                if number >= MOST_MEMBERS or not (member.isdir() or name in known or name.startswith("._")):
                    return False
    except (*DAMAGE, OSError):
        return False
    return False


def import_exported(
    store: ModelStore,
    file: Path,
    name: str | None,
    replace: bool,
    check: Callable[[StoredModel], None] = lambda model: None,
) -> StoredModel:
    """Import an exported model into `store`.

    The checksums prove that the prepared form is the one that was packed, not that it was made from the
    graph. Therefore both are run and their scores compared; where TensorFlow, which runs them, is not
    installed, the prepared form is left out.

    :param name: the model's name; None: the name under which it was exported.
    :param check: called with the model before it gets its name; an exception cancels the import.
    :raises ModelError: the file is damaged or inconsistent; the store is unchanged.
    """

    def compare_and_check(model: StoredModel) -> None:
        if not engine_of("tensorflow").is_installed:
            shutil.rmtree(model.directory / PREPARED)
        else:
            compare(model)
        check(model)

    def compare(model: StoredModel) -> None:
        try:
            compare_prepared(model)
        except UnpreparableError as error:
            raise ModelError(f"{file}: rejected: its prepared form differs from its graph: {error}") from None

    exported = _read_mark(file)
    wanted = {member: LARGEST.get(member, LARGEST_MODEL) for member in (*MEMBERS, GOLDEN, *CONVERTED)}
    archive = Archive(file, wanted)
    manifest, name = exported.manifest, name or exported.name
    known = load_catalog().get(name)
    if known and known.graph_bytes not in (None, manifest.size_bytes):
        raise ModelError(
            f"{file}: its graph has {manifest.size_bytes} bytes, but that of {name} has {known.graph_bytes}; "
            f"give it another name: --name NAME"
        )
    targets = _members(file, manifest) | CONVERTED
    with store.adding(name, manifest.entry, replace, manifest.made_by, compare_and_check) as folder:
        (folder / PREPARED).mkdir()
        for member, stream in archive.members():
            if member in targets:
                target = folder / targets[member]
                target.parent.mkdir(exist_ok=True)
                archive.save(stream, target)
        _check(file, folder, manifest)
        for member, path in targets.items():
            expected = exported.sha256.get(member)
            if expected and not ((folder / path).is_file() and sha256_of(folder / path) == expected):
                raise ModelError(f"{file}: damaged: its {member} differs from the exported one")
        for graph in (folder / GRAPH, folder / PREPARED / prepared_model.GRAPH):
            check_graph_file(file, graph)
        _note_graph(folder / PREPARED)
    return store.get(name)


def _read_mark(file: Path) -> ExportManifest:
    archive = Archive(file, {MARK: LARGEST[MARK]})
    # Read at once: a member's stream ends with its archive.
    mark = next((stream.read() for _, stream in archive.members()), b"")
    try:
        return msgspec.json.decode(mark, type=ExportManifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{file}: damaged: {error}") from None


def _note_graph(folder: Path) -> None:
    """Add the checksum of the prepared graph to its index; an exported index lacks it."""
    index = msgspec.structs.replace(read_index(folder), graph_sha256=sha256_of(folder / prepared_model.GRAPH))
    (folder / prepared_model.INDEX).write_bytes(msgspec.json.encode(index))


def _sweep(folder: Path) -> None:
    """Remove leftovers of killed exports from `folder`; a running export holds a lock on its own."""
    for left in folder.glob(f"{SCRATCH}*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(left, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(descriptor)


def _members(file: Path, manifest: Manifest) -> dict[str, str]:
    """Return the other members of this model's archive, and their paths in the model's folder."""
    if manifest.entry.golden is None:
        return MEMBERS
    image = manifest.entry.golden.image
    if not IMAGE_NAME.fullmatch(image) or image in (*MEMBERS.values(), MANIFEST, PREPARED, *FOLDERS):
        raise ModelError(f"{file}: damaged: `{image}` is not a valid image name")
    return MEMBERS | {GOLDEN: image}


def _check(file: Path, folder: Path, manifest: Manifest) -> None:
    members = _members(file, manifest)
    missing = next((member for member, path in members.items() if not (folder / path).exists()), None)
    if missing:
        raise ModelError(f"{file}: {missing} is missing from it")
    try:
        model = open_prepared(folder / PREPARED)
    except SessionError as error:
        raise ModelError(f"{file}: damaged: {error}") from None
    found = sha256_of(folder / GRAPH)
    if found != manifest.sha256 or model.index.source_sha256 != manifest.sha256:
        raise ModelError(f"{file}: damaged: its graph differs from the exported one")
    if manifest.labels_sha256 not in ("", sha256_of(folder / LABELS)):
        raise ModelError(f"{file}: damaged: its labels differ from the exported ones")
    if sha256_of(folder / PREPARED / prepared_model.WEIGHTS) != model.index.weights_sha256:
        raise ModelError(f"{file}: damaged: its weights differ from the exported ones")
    for precision in converted_precisions(folder):
        try:
            conversion = read_conversion(folder, precision, manifest.sha256)
        except ModelError as error:
            raise ModelError(f"{file}: damaged: {error}") from None
        if sha256_of(conversion.network) != conversion.facts.sha256:
            raise ModelError(f"{file}: damaged: its {precision} network differs from the exported one")


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member
