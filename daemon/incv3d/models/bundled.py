"""Provide the bundled model files: ImageNet's class names and images with known answers."""

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
    """Return the 1000 classes of ILSVRC-2012 in the order of their synsets, as lines of a labels file.

    :param background: put a class `background` first, as in TF-Slim's networks.
    """
    text = resources.files("incv3d.models").joinpath(IMAGENET).read_text("utf-8")
    if not background:
        return text
    rows = (line.split("\t", 1) for line in text.splitlines() if not line.startswith("#"))
    return "0\t\tbackground\n" + "".join(f"{int(index) + 1}\t{names}\n" for index, names in rows)


def golden_image(name: str) -> bytes | None:
    """Return the bundled image that a model's entry names, or None if no image has that name."""
    return bundled_image(name) if name in PICTURES else None


def bundled_image(name: str) -> bytes:
    """Return the bytes of one of :data:`PICTURES`."""
    package, path = PICTURES[name]
    return resources.files(package).joinpath(path).read_bytes()


def add_golden_image(entry: ModelEntry, folder: Path) -> None:
    """Write the bundled image that `entry` names into the model's folder, unless it is there."""
    if entry.golden and not (folder / entry.golden.image).exists():
        image = golden_image(entry.golden.image)
        if image is None:
            raise ModelError(f"the golden image {entry.golden.image} is missing")
        (folder / entry.golden.image).write_bytes(image)
