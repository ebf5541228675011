"""Files of models that come with incv3d: the names of ImageNet's classes, pictures whose answer is known."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from incv3d.models.entry import ModelEntry, ModelError

IMAGENET = "data/imagenet-1k.tsv"
PICTURES = {
    "coffee.jpg": ("incv3d.images", "demo/coffee.jpg"),
    "grace_hopper.jpg": ("incv3d.models", "data/grace_hopper.jpg"),
}


def imagenet_labels(background: bool = False) -> str:
    """The 1000 classes of ILSVRC-2012 by their synsets' order, as lines of a labels file.

    :param background: with a class `background` before them, as TF-Slim's networks have it.
    """
    text = resources.files("incv3d.models").joinpath(IMAGENET).read_text("utf-8")
    if not background:
        return text
    rows = (line.split("\t", 1) for line in text.splitlines() if not line.startswith("#"))
    return "0\t\tbackground\n" + "".join(f"{int(index) + 1}\t{names}\n" for index, names in rows)


def golden_picture(name: str) -> bytes | None:
    """The bundled picture that a model's entry names; None if there is none of that name."""
    return bundled_picture(name) if name in PICTURES else None


def bundled_picture(name: str) -> bytes:
    """Return the bytes of one of :data:`PICTURES`."""
    package, path = PICTURES[name]
    return resources.files(package).joinpath(path).read_bytes()


def add_golden_picture(entry: ModelEntry, folder: Path) -> None:
    """Put the bundled picture that `entry` names into the model's folder, unless one is there."""
    if entry.golden and not (folder / entry.golden.picture).exists():
        picture = golden_picture(entry.golden.picture)
        if picture is None:
            raise ModelError(f"there is no picture {entry.golden.picture} to check the model by")
        (folder / entry.golden.picture).write_bytes(picture)
