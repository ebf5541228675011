"""Unpack the published forms of the known models into a model's folder.

The user's own networks come in the same forms, so `file` is any file that the user chose.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from incv3d.models.archive import Archive, is_archive
from incv3d.models.bundled import imagenet_labels
from incv3d.models.custom import freeze_network
from incv3d.models.entry import ModelEntry, ModelError
from incv3d.models.files import sha256_of
from incv3d.models.graph.build_keras_inception import is_hdf5
from incv3d.models.graph.freeze_job import FreezeJob
from incv3d.models.graph.graphdef_reader import read_nodes
from incv3d.models.label_files import read_label_file
from incv3d.models.labels import Label, format_labels
from incv3d.models.prepare import run_child
from incv3d.models.store import FLATBUFFER, GRAPH, LABELS

GRAPH_MEMBER = "classify_image_graph_def.pb"
CLASSES_MEMBER = "imagenet_2012_challenge_label_map_proto.pbtxt"
NAMES_MEMBER = "imagenet_synset_to_human_label_map.txt"
IMAGE_MEMBER = "cropped_panda.jpg"
MEMBERS = {GRAPH_MEMBER: 1 << 30, CLASSES_MEMBER: 1 << 20, NAMES_MEMBER: 4 << 20}
"""Members of Google's archive of 2015 besides an image, with the maximum size of each."""
PANDA_SHA256 = "1b54de86454f7b8cade933c882ea6c51298c550984a97be1bd7d5107813a0bfc"

SLIM_MEMBER = "inception_v3_2016_08_28_frozen.pb"
KERAS_BUILDER = "incv3d.models.graph.build_keras_inception"
CLASS = re.compile(r'target_class:\s*(\d+)\s+target_class_string:\s*"([^"]*)"')


def unpack_2015(file: Path, folder: Path, entry: ModelEntry) -> None:
    """Unpack Google's ``inception-2015-12-05.tgz``, or copy its frozen graph and the two label maps.

    The archive's image becomes the golden image if `entry` names it.

    :raises ModelError: a part is missing or damaged.
    """
    if is_archive(file):
        image = {IMAGE_MEMBER: 1 << 20} if entry.golden else {}
        _unpack(file, folder, MEMBERS | image, {GRAPH_MEMBER: GRAPH})
        if image and sha256_of(folder / IMAGE_MEMBER) != PANDA_SHA256:
            raise ModelError(f"{file}: its {IMAGE_MEMBER} differs from Google's")
    else:
        _copy_with_label_maps(file, folder)
    labels = read_label_maps(folder / CLASSES_MEMBER, folder / NAMES_MEMBER)
    beyond = max(label.index for label in labels)
    if beyond >= entry.outputs:
        raise ModelError(f"{file}: a label for output {beyond}, but the network has {entry.outputs} outputs")
    (folder / LABELS).write_text(format_labels(labels), "utf-8")
    for used in (CLASSES_MEMBER, NAMES_MEMBER):
        (folder / used).unlink()


def unpack_2016(file: Path, folder: Path) -> None:
    """Unpack TF-Slim's ``inception_v3_2016_08_28_frozen.pb.tar.gz``, or copy the frozen graph in it.

    Its labels are replaced by the bundled ones, which name the same classes and include synsets.

    :raises ModelError: the graph is missing or damaged.
    """
    if is_archive(file):
        _unpack(file, folder, {SLIM_MEMBER: 1 << 30}, {SLIM_MEMBER: GRAPH})
    else:
        read_nodes(file)
        shutil.copyfile(file, folder / GRAPH)
    (folder / LABELS).write_text(imagenet_labels(background=True), "utf-8")


def unpack_keras(file: Path, folder: Path) -> None:
    """Build and freeze ``keras.applications.InceptionV3`` with the weights in `file`, in a child process.

    :raises ModelError: the file has other content.
    """
    if not is_hdf5(file):
        raise ModelError(f"{file}: not an HDF5 file, the format of Keras weights")
    run_child(KERAS_BUILDER, [str(file), str(folder / GRAPH)])
    (folder / LABELS).write_text(imagenet_labels(), "utf-8")


def add_flatbuffer(file: Path, folder: Path, entry: ModelEntry, labels: Path | None) -> None:
    """Copy a ``.tflite`` and its labels, after trying it in a child process.

    :param labels: the labels file; None: the published one in the same folder.
    :raises ModelError: the labels are missing or others, or the network is not as `entry` describes it.
    """
    published = file.with_name(entry.labels_url.rpartition("/")[2])
    if labels is None and not published.is_file():
        raise ModelError(
            f"{file}: its labels are missing: put {published.name} in the same folder (from "
            f"{entry.labels_url}), or use --labels FILE"
        )
    if labels is None and entry.labels_sha256 not in ("", sha256_of(published)):
        raise ModelError(f"{published}: damaged: it is not the published file; to use it, add --labels FILE")
    named = read_label_file(labels or published, entry.outputs)
    facts = freeze_network(
        FreezeJob(
            file=str(file.absolute()),
            kind="tflite",
            input=entry.input,
            output=entry.output,
            width=entry.width,
            height=entry.height,
            layout=entry.layout,
            network=str(folder / FLATBUFFER),
            facts=str(folder / "facts.json"),
            mean=entry.mean,
            std=entry.scale,
        )
    )
    (folder / "facts.json").unlink()
    if facts.outputs != entry.outputs:
        raise ModelError(f"{file}: the network has {facts.outputs} outputs, but must have {entry.outputs}")
    (folder / LABELS).write_text(format_labels(named), "utf-8")


def read_label_maps(classes: Path, names: Path) -> list[Label]:
    """Return the labels from Google's two label maps.

    :param classes: a text protobuf that maps outputs to synsets: ``entry { target_class: 449
        target_class_string: "n01440764" }``.
    :param names: lines of ``synset<TAB>names``.
    :raises ModelError: a file has another format.
    """
    try:
        pairs = CLASS.findall(classes.read_text("utf-8"))
        lines = (line.split("\t", 1) for line in names.read_text("utf-8").splitlines())
        named = {fields[0]: fields[1] for fields in lines if len(fields) == 2}
    except UnicodeDecodeError as error:
        raise ModelError(f"the label maps are not UTF-8 text: {error}") from None
    if not pairs:
        raise ModelError(f"{classes.name}: contains no `target_class` entries")
    missing = next((synset for _, synset in pairs if synset not in named), None)
    if missing:
        raise ModelError(f"{names.name}: no name for {missing}")
    return [Label(int(index), synset, named[synset]) for index, synset in pairs]


def _unpack(file: Path, folder: Path, wanted: dict[str, int], renamed: dict[str, str]) -> None:
    found = set()
    archive = Archive(file, wanted)
    for member, stream in archive.members():
        archive.save(stream, folder / renamed.get(member, member))
        found.add(member)
    missing = sorted(set(wanted) - found)
    if missing:
        raise ModelError(f"{file}: {missing[0]} is missing from it")


def _copy_with_label_maps(file: Path, folder: Path) -> None:
    beside = {member: file.parent / member for member in (CLASSES_MEMBER, NAMES_MEMBER)}
    read_nodes(file)
    for path in beside.values():
        if not path.is_file():
            raise ModelError(
                f"{file}: its labels are missing: put {path.name} in the same folder, or use --labels FILE"
            )
    for source, target in ((file, GRAPH), *((path, member) for member, path in beside.items())):
        shutil.copyfile(source, folder / target)
