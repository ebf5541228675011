"""Import a model into the store from a file: a known model, the user's own, or an exported one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from incv3d.config.preprocessing import PresetName
from incv3d.models.archive import is_archive
from incv3d.models.bundled import add_golden_image
from incv3d.models.catalog import load_catalog
from incv3d.models.entry import ModelEntry, ModelError
from incv3d.models.export import import_exported, is_exported
from incv3d.models.file_kinds import kind_of
from incv3d.models.files import sha256_of
from incv3d.models.graph.build_keras_inception import is_hdf5, is_whole_model
from incv3d.models.graph.graphdef_reader import Node, read_nodes
from incv3d.models.graph.operations import check_graph_file
from incv3d.models.published_archives import add_flatbuffer, unpack_2015, unpack_2016, unpack_keras
from incv3d.models.store import GRAPH, ModelStore, StoredModel
from incv3d.models.user_networks import find_labels_file, import_user_network

LIKE_DEFAULT = "inception-v3"
SLIM = "inception-v3-2016"
KERAS = "inception-v3-keras"


def import_model(
    store: ModelStore,
    file: Path,
    name: str | None = None,
    like: str | None = None,
    replace: bool = False,
    source: str = "",
    check: Callable[[StoredModel], None] = lambda model: None,
    labels: Path | None = None,
    progress: Callable[[str], None] = lambda line: None,
    preset: PresetName = "none",
) -> StoredModel:
    """Import the model in `file` into `store`.

    The format is detected from the content: an export of ``incv3d model export``; an archive with the members
    of Google's ``inception-2015-12-05.tgz`` or of TF-Slim's of 2016; a frozen GraphDef (with the label maps
    of 2015 in the same folder, if it resembles that graph); the weights of Keras' Inception-v3 as HDF5; or
    any other network that ``custom.file`` supports.

    :param name: the model's name; None: its own name, if it is known.
    :param like: the known model with the same tensors, input and labels; None: `name`, if that is a known
        model, else a guess from the file.
    :param labels: labels file for the user's own network, or for a known one whose labels are a file of their
        own; None: one in the same folder.
    :param progress: called with one line on what was found and at each step that takes a while.
    :param preset: the preset with which the user's own network was trained.
    :param source: the origin of the user's own network, for people; empty: the file's name.
    :param check: called with the model before it gets its name; an exception cancels the import.
    :raises ModelError: the file cannot be imported; the store is unchanged.
    """
    _check_readable(file)
    if like and preset != "none":
        raise ModelError(f"--preset {preset}: excludes --like {like}; use one or the other")
    if is_exported(file):
        if like or preset != "none":
            raise ModelError(f"{file}: an exported model describes itself; omit --like and --preset")
        return import_exported(store, file, name, replace, check)
    catalog = load_catalog()
    given = bool(like)
    like = like or (name if name in catalog else _looks_like(file, catalog))
    if like not in catalog:
        raise ModelError(f"`{like}` is not a known model; known models: {', '.join(sorted(catalog))}")
    if not _is_published(file, name, catalog[like], labels):
        return import_user_network(
            store, file, name, labels, catalog[like] if given else None, preset, replace, progress, check
        )
    if preset != "none":
        raise ModelError(f"{file}: resembles {like}, whose preprocessing is known; omit --preset")
    if labels and not catalog[like].labels_url:
        raise ModelError(f"{file}: has its own labels; omit --labels")
    name = name or like
    if name in catalog:
        _check_is_original(file, name, catalog[name], like)
        entry = catalog[name]
    else:
        entry = _of_ones_own(catalog[like], source or file.name)
    with store.adding(name, entry, replace, check=check) as folder:
        _unpack(file, folder, name, like, entry, labels)
        add_golden_image(entry, folder)
    return store.get(name)


def _unpack(file: Path, folder: Path, name: str, like: str, entry: ModelEntry, labels: Path | None) -> None:
    """Unpack the published form `like` into `folder`, and check its network against `entry`."""
    if entry.format == "tflite":
        add_flatbuffer(file, folder, load_catalog()[like], labels)
        return
    if like == KERAS:
        unpack_keras(file, folder)
    elif like == SLIM:
        unpack_2016(file, folder)
    else:
        unpack_2015(file, folder, entry)
    graph = folder / GRAPH
    if entry.graph_bytes not in (None, graph.stat().st_size):
        raise ModelError(f"{file}: its graph does not have {entry.graph_bytes} bytes, the size of {name}'s")
    check_graph_file(file, graph)
    check_graph(read_nodes(graph), entry, file)


def _is_published(file: Path, name: str | None, like: ModelEntry, labels: Path | None) -> bool:
    """Return whether `file` is a known model, or has the same tensors and label files as one."""
    if name in load_catalog() or (file.is_file() and is_archive(file)) or _has_checksum_of(file, like):
        return True
    if file.is_file() and is_hdf5(file):
        return not is_whole_model(file)
    if kind_of(file) != "graphdef" or labels or find_labels_file(file):
        return False
    nodes = {node.name for node in read_nodes(file)}
    return all(tensor.split(":")[0] in nodes for tensor in (like.input, like.output))


def _has_checksum_of(file: Path, entry: ModelEntry) -> bool:
    """Return whether `file` is identical to the published file of `entry`."""
    if not entry.archive_sha256 or not file.is_file() or entry.archive_bytes != file.stat().st_size:
        return False
    return sha256_of(file) == entry.archive_sha256


def check_graph(nodes: list[Node], entry: ModelEntry, file: Path) -> None:
    """Raise ModelError unless the graph has the tensors named by `entry`."""
    names = {node.name for node in nodes}
    for what, tensor in (("input", entry.input), ("output", entry.output)):
        if tensor.split(":")[0] not in names:
            likely = [node.name for node in nodes if node.op in ("Placeholder", "Softmax")][:8]
            raise ModelError(
                f"{file}: the graph has no {what} `{tensor}`; "
                f"its inputs and outputs are probably: {', '.join(likely) or 'unknown'}"
            )


def _check_readable(file: Path) -> None:
    if file.is_dir():
        kind_of(file)
        return
    if not file.is_file():
        raise ModelError(f"{file}: no such file")
    try:
        with file.open("rb") as opened:
            empty = not opened.read(1)
    except OSError as error:
        raise ModelError(f"{file}: cannot be read: {error.strerror}") from None
    if empty:
        raise ModelError(f"{file}: the file is empty")


def _looks_like(file: Path, catalog: dict[str, ModelEntry]) -> str:
    if file.is_file() and is_hdf5(file):
        return KERAS
    size_bytes = file.stat().st_size
    return next((name for name, each in catalog.items() if each.archive_bytes == size_bytes), LIKE_DEFAULT)


def _check_is_original(file: Path, name: str, entry: ModelEntry, like: str) -> None:
    own = f"to import a network of your own, give it another name: --name NAME --like {like}"
    if like == KERAS:
        own = (
            "if it is from your own network, it has weights only, without layers; save the whole model: "
            "model.save('NAME.keras')"
        )
    if like != name:
        raise ModelError(f"`{name}` is a known model that is not like {like}; {own}")
    if not entry.url:
        raise ModelError(
            f"`{name}` is built by incv3d, not imported; give this file another name: --name NAME"
        )
    size_bytes = file.stat().st_size
    if entry.archive_bytes not in (None, size_bytes):
        raise ModelError(
            f"{file}: {size_bytes} bytes, but the published file of {name} has {entry.archive_bytes}; {own}"
        )
    if entry.archive_sha256 and (found := sha256_of(file)) != entry.archive_sha256:
        raise ModelError(
            f"{file}: damaged: its SHA-256 is {found}, but that of the published file of {name} is "
            f"{entry.archive_sha256}; {own}"
        )


def _of_ones_own(entry: ModelEntry, source: str) -> ModelEntry:
    """Return `entry` without the facts that apply to the published network only."""
    return msgspec.structs.replace(
        entry,
        golden=None,
        url="",
        labels_url="",
        labels_sha256="",
        archive_bytes=None,
        archive_sha256="",
        graph_bytes=None,
        licence="",
        source=source,
    )
