"""Take a model from a file into the store: Google's archive of 2015, a frozen GraphDef, an exported model."""

from __future__ import annotations

import re
import shutil
import tarfile
from pathlib import Path

from incv3d.models.archive import Archive
from incv3d.models.catalog import load_catalog
from incv3d.models.entry import ModelEntry, ModelError
from incv3d.models.graphdef import Node, read_nodes
from incv3d.models.labels import Label, format_labels
from incv3d.models.store import GRAPH, LABELS, ModelStore, StoredModel
from incv3d.models.transfer import import_exported, is_exported

GRAPH_MEMBER = "classify_image_graph_def.pb"
CLASSES_MEMBER = "imagenet_2012_challenge_label_map_proto.pbtxt"
NAMES_MEMBER = "imagenet_synset_to_human_label_map.txt"
MEMBERS = {GRAPH_MEMBER: 1 << 30, CLASSES_MEMBER: 1 << 20, NAMES_MEMBER: 4 << 20}
"""What Google's archive holds besides a picture, and how large each may be."""

LIKE_DEFAULT = "inception-v3"
CLASS = re.compile(r'target_class:\s*(\d+)\s+target_class_string:\s*"([^"]*)"')


def import_model(
    store: ModelStore, file: Path, name: str | None = None, like: str | None = None, replace: bool = False
) -> StoredModel:
    """Take the model in `file` into `store`.

    :param file: what ``incv3d model export`` wrote; or an archive with the members of Google's
        ``inception-2015-12-05.tgz``; or a frozen GraphDef with that archive's two label files beside it.
    :param name: what to call it; None: its own name, if it is one that is known.
    :param like: the known model whose tensors and input it has; None: `name`, else Inception-v3 of 2015.
    :raises ModelError: whatever is wrong with it; the store is then as before.
    """
    if not file.is_file():
        raise ModelError(f"{file}: no such file")
    if is_exported(file):
        if like:
            raise ModelError(f"{file}: an exported model knows its tensors; leave out --like")
        return import_exported(store, file, name, replace)
    catalog = load_catalog()
    like = like or (name if name in catalog else LIKE_DEFAULT)
    if like not in catalog:
        raise ModelError(f"no known model `{like}`; known are {', '.join(sorted(catalog))}")
    entry = catalog[like]
    name = name or LIKE_DEFAULT
    if name in catalog:
        _check_is_original(file, name, catalog[name])
    with store.adding(name, entry, replace) as folder:
        if _is_archive(file):
            _unpack(file, folder)
        else:
            _copy(file, folder)
        check_graph(read_nodes(folder / GRAPH), entry, file)
        labels = read_label_maps(folder / CLASSES_MEMBER, folder / NAMES_MEMBER)
        _check_labels(labels, entry, file)
        (folder / LABELS).write_text(format_labels(labels), "utf-8")
        for used in (CLASSES_MEMBER, NAMES_MEMBER):
            (folder / used).unlink()
    return store.get(name)


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


def read_label_maps(classes: Path, names: Path) -> list[Label]:
    """Google's two label maps put together.

    :param classes: a text protobuf, ``entry { target_class: 449 target_class_string: "n01440764" }``: output
        to synset.
    :param names: lines of ``synset<TAB>names``.
    :raises ModelError: when they are not that.
    """
    try:
        pairs = CLASS.findall(classes.read_text("utf-8"))
        lines = (line.split("\t", 1) for line in names.read_text("utf-8").splitlines())
        named = {fields[0]: fields[1] for fields in lines if len(fields) == 2}
    except UnicodeDecodeError as error:
        raise ModelError(f"the label maps are not UTF-8 text: {error}") from None
    if not pairs:
        raise ModelError(f"{classes.name}: no `target_class` entries in it")
    missing = next((synset for _, synset in pairs if synset not in named), None)
    if missing:
        raise ModelError(f"{names.name}: no name for {missing}")
    return [Label(int(index), synset, named[synset]) for index, synset in pairs]


def _check_is_original(file: Path, name: str, entry: ModelEntry) -> None:
    size_bytes = file.stat().st_size
    if entry.archive_bytes is None:
        raise ModelError(
            f"`{name}` comes with incv3d and is not imported; give this file another name: --name NAME"
        )
    if size_bytes != entry.archive_bytes:
        raise ModelError(
            f"{file}: {size_bytes} bytes, Google's archive of {name} has {entry.archive_bytes}; if it is a "
            f"network of your own, give it another name: --name NAME --like {name}"
        )


def _is_archive(file: Path) -> bool:
    try:
        return tarfile.is_tarfile(file)
    except OSError as error:
        raise ModelError(f"{file}: cannot be read: {error.strerror}") from None


def _unpack(file: Path, folder: Path) -> None:
    found = set()
    archive = Archive(file, MEMBERS)
    for member, stream in archive.members():
        archive.save(stream, folder / (GRAPH if member == GRAPH_MEMBER else member))
        found.add(member)
    missing = sorted(set(MEMBERS) - found)
    if missing:
        raise ModelError(f"{file}: there is no {missing[0]} in it")


def _copy(file: Path, folder: Path) -> None:
    beside = {member: file.parent / member for member in (CLASSES_MEMBER, NAMES_MEMBER)}
    read_nodes(file)
    for path in beside.values():
        if not path.is_file():
            raise ModelError(f"{file}: its labels are missing: put {path.name} beside it")
    for source, target in ((file, GRAPH), *((path, member) for member, path in beside.items())):
        shutil.copyfile(source, folder / target)


def _check_labels(labels: list[Label], entry: ModelEntry, file: Path) -> None:
    beyond = max(label.index for label in labels)
    if beyond >= entry.outputs:
        raise ModelError(f"{file}: a label for output {beyond}, the network has {entry.outputs} outputs")
