"""Carry a model from one machine to another, prepared: a small one need not prepare it itself."""

from __future__ import annotations

import re
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from incv3d.models.archive import DAMAGE, Archive, open_archive
from incv3d.models.catalog import load_catalog
from incv3d.models.conversion import (
    DESCRIPTION,
    PRECISIONS,
    converted_precisions,
    folder_name,
    open_conversion,
    read_conversion,
)
from incv3d.models.entry import ModelError
from incv3d.models.preparation import PREPARED, prepare_model
from incv3d.models.store import (
    FLATBUFFER,
    GRAPH,
    LABELS,
    MANIFEST,
    Manifest,
    ModelStore,
    StoredModel,
    sha256_of,
)
from incv3d.sessions import prepared
from incv3d.sessions.base import SessionError
from incv3d.sessions.prepared import open_prepared

MARK = "incv3d-model.json"
"""The first member of an exported model, its manifest; no other archive has one."""

MEMBERS = {
    GRAPH: GRAPH,
    LABELS: LABELS,
    f"{PREPARED}-{prepared.GRAPH}": f"{PREPARED}/{prepared.GRAPH}",
    f"{PREPARED}-{prepared.WEIGHTS}": f"{PREPARED}/{prepared.WEIGHTS}",
    f"{PREPARED}-{prepared.INDEX}": f"{PREPARED}/{prepared.INDEX}",
}
"""The other members, and where each lies in a model's folder."""

GOLDEN = "golden-picture"
"""The picture that the model is checked by; only where its entry names one."""

PICTURE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")

CONVERTED = {
    f"{folder_name(each)}-{file}": f"{folder_name(each)}/{file}"
    for each in PRECISIONS
    for file in (FLATBUFFER, DESCRIPTION)
}
"""Members of a model that was converted to LiteRT, and where each lies."""
FOLDERS = {str(Path(path).parent) for path in CONVERTED.values()}

LARGEST = {
    **{member: 1 << 20 for member in (MARK, *CONVERTED) if not member.endswith(FLATBUFFER)},
    LABELS: 64 << 20,
    f"{PREPARED}-{prepared.INDEX}": 16 << 20,
    GOLDEN: 16 << 20,
}
LARGEST_MODEL = 1 << 30


class Exported(msgspec.Struct, frozen=True, kw_only=True):
    """What the first member says."""

    name: str
    manifest: Manifest


def export_model(model: StoredModel, file: Path, progress: Callable[[str], None]) -> None:
    """Write `model` with its prepared form and its conversions to the archive `file`, whole or not at all.

    The prepared form is made anew, of operations that every processor has: what this machine fuses for
    itself, another may not know.

    :raises ModelError: when it cannot be prepared or written.
    """
    if model.entry.format != "graphdef":
        raise ModelError(f"{model.name} is a .tflite model, which needs no preparing: copy the file itself")
    conversions = [
        open_conversion(model, each).directory.name for each in converted_precisions(model.directory)
    ]
    progress(f"preparing {model.name} for any machine")
    try:
        with tempfile.TemporaryDirectory(prefix=".export-", dir=file.absolute().parent) as scratch:
            folder = Path(scratch)
            members = _members(file, model.manifest)
            for name in (path for path in members.values() if "/" not in path):
                (folder / name).symlink_to((model.directory / name).absolute())
            prepare_model(model, folder / PREPARED, portable=True)
            described = Exported(name=model.name, manifest=model.manifest)
            (folder / MARK).write_bytes(msgspec.json.encode(described))
            with tarfile.open(folder / "archive", "w", dereference=True) as archive:
                for member, path in {MARK: MARK, **members}.items():
                    archive.add(folder / path, member, filter=_anonymous)
                for member, path in CONVERTED.items():
                    if Path(path).parent.name in conversions:
                        archive.add(model.directory / path, member, filter=_anonymous)
            (folder / "archive").replace(file)
    except OSError as error:
        raise ModelError(f"{error.filename or file}: cannot be written: {error.strerror}") from None


def is_exported(file: Path) -> bool:
    """Whether `file` is what :func:`export_model` writes."""
    try:
        with open_archive(file) as archive:
            first = archive.next()
    except (*DAMAGE, OSError):
        return False
    return first is not None and first.name == MARK


def import_exported(store: ModelStore, file: Path, name: str | None, replace: bool) -> StoredModel:
    """Take an exported model into `store`.

    :param name: what to call it; None: what it was called.
    :raises ModelError: when it is damaged, or is not what it says; the store is then as before.
    """
    wanted = {member: LARGEST.get(member, LARGEST_MODEL) for member in (MARK, *MEMBERS, GOLDEN, *CONVERTED)}
    archive = Archive(file, wanted)
    members = archive.members()
    _, stream = next(members)
    try:
        exported = msgspec.json.decode(stream.read(), type=Exported)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{file}: damaged: {error}") from None
    manifest, name = exported.manifest, name or exported.name
    known = load_catalog().get(name)
    if known and known.graph_bytes not in (None, manifest.size_bytes):
        raise ModelError(
            f"{file}: its graph has {manifest.size_bytes} bytes, that of {name} has {known.graph_bytes}; "
            f"give it another name: --name NAME"
        )
    targets = _members(file, manifest) | CONVERTED
    with store.adding(name, manifest.entry, replace, manifest.made_by) as folder:
        (folder / PREPARED).mkdir()
        for member, stream in members:
            if member in targets:
                target = folder / targets[member]
                target.parent.mkdir(exist_ok=True)
                archive.save(stream, target)
        _check(file, folder, manifest)
    return store.get(name)


def _members(file: Path, manifest: Manifest) -> dict[str, str]:
    """The members of this model's archive besides its mark, and where each lies in the model's folder."""
    if manifest.entry.golden is None:
        return MEMBERS
    picture = manifest.entry.golden.picture
    if not PICTURE_NAME.fullmatch(picture) or picture in (*MEMBERS.values(), MANIFEST, PREPARED, *FOLDERS):
        raise ModelError(f"{file}: damaged: `{picture}` is no name for a picture")
    return MEMBERS | {GOLDEN: picture}


def _check(file: Path, folder: Path, manifest: Manifest) -> None:
    members = _members(file, manifest)
    missing = next((member for member, path in members.items() if not (folder / path).exists()), None)
    if missing:
        raise ModelError(f"{file}: there is no {missing} in it")
    try:
        model = open_prepared(folder / PREPARED)
    except SessionError as error:
        raise ModelError(f"{file}: damaged: {error}") from None
    found = sha256_of(folder / GRAPH)
    if found != manifest.sha256 or model.index.source_sha256 != manifest.sha256:
        raise ModelError(f"{file}: damaged: its graph is not the one that was exported")
    if manifest.labels_sha256 not in ("", sha256_of(folder / LABELS)):
        raise ModelError(f"{file}: damaged: its labels are not the ones that were exported")
    if sha256_of(folder / PREPARED / prepared.WEIGHTS) != model.index.weights_sha256:
        raise ModelError(f"{file}: damaged: its weights are not the ones that were exported")
    for precision in converted_precisions(folder):
        try:
            conversion = read_conversion(folder, precision, manifest.sha256)
        except ModelError as error:
            raise ModelError(f"{file}: damaged: {error}") from None
        if sha256_of(conversion.network) != conversion.facts.sha256:
            raise ModelError(f"{file}: damaged: its {precision} network is not the one that was exported")


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o644
    return member
