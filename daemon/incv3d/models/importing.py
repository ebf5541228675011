"""Take a model from a file into the store: one of the known ones, one of one's own, an exported one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from incv3d.models.archive import is_archive
from incv3d.models.bundled import add_golden_picture
from incv3d.models.catalog import load_catalog
from incv3d.models.entry import ModelEntry, ModelError
from incv3d.models.export import import_exported, is_exported
from incv3d.models.file_kinds import kind_of
from incv3d.models.files import sha256_of
from incv3d.models.graph.build_keras_inception import is_hdf5, is_whole_model
from incv3d.models.graph.graphdef_reader import Node, read_nodes
from incv3d.models.graph.operations import check_graph_file
from incv3d.models.published_archives import unpack_2015, unpack_2016, unpack_keras
from incv3d.models.store import GRAPH, ModelStore, StoredModel
from incv3d.models.user_networks import import_user_network, labels_beside

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
) -> StoredModel:
    """Take the model in `file` into `store`.

    What `file` is, its content says: what ``incv3d model export`` wrote; an archive with the members of
    Google's ``inception-2015-12-05.tgz``, or of TF-Slim's of 2016; a frozen GraphDef (with the label maps of
    2015 beside it, if it is like that one); the weights of Keras' Inception-v3 as HDF5; any other network
    that ``custom.file`` can name.

    :param name: what to call it; None: its own name, if it is one that is known.
    :param like: the known model whose tensors, input and labels it has; None: `name`, if that is a known
        model, else what the file looks like.
    :param labels: the names of the outputs of a network of one's own; None: those in a file beside it.
    :param progress: told, in one line, what was found, and of anything that takes a while.
    :param source: where a network of one's own comes from, for people; empty: the file's name.
    :param check: what it must pass before it gets its name.
    :raises ModelError: whatever is wrong with it; the store is then as before.
    """
    _check_readable(file)
    if is_exported(file):
        if like:
            raise ModelError(f"{file}: an exported model knows its tensors; leave out --like")
        return import_exported(store, file, name, replace, check)
    catalog = load_catalog()
    given = bool(like)
    like = like or (name if name in catalog else _looks_like(file, catalog))
    if like not in catalog:
        raise ModelError(f"no known model `{like}`; known are {', '.join(sorted(catalog))}")
    if not _is_published(file, name, catalog[like], labels):
        return import_user_network(
            store, file, name, labels, catalog[like] if given else None, replace, progress, check
        )
    if labels:
        raise ModelError(f"{file}: has labels of its own; leave out --labels")
    name = name or like
    if name in catalog:
        _check_is_original(file, name, catalog[name], like)
        entry = catalog[name]
    else:
        entry = _of_ones_own(catalog[like], source or file.name)
    with store.adding(name, entry, replace, check=check) as folder:
        if like == KERAS:
            unpack_keras(file, folder)
        elif like == SLIM:
            unpack_2016(file, folder)
        else:
            unpack_2015(file, folder, entry)
        if entry.graph_bytes not in (None, (folder / GRAPH).stat().st_size):
            raise ModelError(f"{file}: its graph does not have the {entry.graph_bytes} bytes of {name}")
        check_graph_file(file, folder / GRAPH)
        check_graph(read_nodes(folder / GRAPH), entry, file)
        add_golden_picture(entry, folder)
    return store.get(name)


def _is_published(file: Path, name: str | None, like: ModelEntry, labels: Path | None) -> bool:
    """Whether `file` holds a known model, or its twin: the same tensors, and labels in the same files."""
    if name in load_catalog() or (file.is_file() and is_archive(file)) or _has_checksum_of(file, like):
        return True
    if file.is_file() and is_hdf5(file):
        return not is_whole_model(file)
    if kind_of(file) != "graphdef" or labels or labels_beside(file):
        return False
    nodes = {node.name for node in read_nodes(file)}
    return all(tensor.split(":")[0] in nodes for tensor in (like.input, like.output))


def _has_checksum_of(file: Path, entry: ModelEntry) -> bool:
    """Whether `file` is, byte for byte, the published file of `entry`."""
    if not entry.archive_sha256 or not file.is_file() or entry.archive_bytes != file.stat().st_size:
        return False
    return sha256_of(file) == entry.archive_sha256


def check_graph(nodes: list[Node], entry: ModelEntry, file: Path) -> None:
    """Raise ModelError unless the graph has the tensors that `entry` names."""
    names = {node.name for node in nodes}
    for what, tensor in (("input", entry.input), ("output", entry.output)):
        if tensor.split(":")[0] not in names:
            likely = [node.name for node in nodes if node.op in ("Placeholder", "Softmax")][:8]
            raise ModelError(
                f"{file}: the graph has no {what} `{tensor}`; "
                f"its inputs and outputs are probably: {', '.join(likely) or 'none that can be told'}"
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
        raise ModelError(f"{file}: is empty")


def _looks_like(file: Path, catalog: dict[str, ModelEntry]) -> str:
    if file.is_file() and is_hdf5(file):
        return KERAS
    size_bytes = file.stat().st_size
    return next((name for name, each in catalog.items() if each.archive_bytes == size_bytes), LIKE_DEFAULT)


def _check_is_original(file: Path, name: str, entry: ModelEntry, like: str) -> None:
    own = f"if it is a network of your own, give it another name: --name NAME --like {like}"
    if like == KERAS:
        own = (
            "if it is of a network of your own, it holds weights only, and no layers; save the whole model: "
            "model.save('NAME.keras')"
        )
    if like != name:
        raise ModelError(f"`{name}` is a known model, and not like {like}; {own}")
    if not entry.url:
        raise ModelError(
            f"`{name}` comes with incv3d and is not imported; give this file another name: --name NAME"
        )
    size_bytes = file.stat().st_size
    if entry.archive_bytes not in (None, size_bytes):
        raise ModelError(
            f"{file}: {size_bytes} bytes, the published file of {name} has {entry.archive_bytes}; {own}"
        )
    if entry.archive_sha256 and (found := sha256_of(file)) != entry.archive_sha256:
        raise ModelError(
            f"{file}: its SHA-256 is {found}, that of the published file of {name} is "
            f"{entry.archive_sha256}: it is damaged; {own}"
        )


def _of_ones_own(entry: ModelEntry, source: str) -> ModelEntry:
    """`entry` without what is true of the published network only."""
    return msgspec.structs.replace(
        entry,
        golden=None,
        url="",
        archive_bytes=None,
        archive_sha256="",
        graph_bytes=None,
        licence="",
        source=source,
    )
