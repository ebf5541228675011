"""Write a taught model as one flatbuffer that runs elsewhere, with LiteRT alone or through ``custom.file``.

The familiarity of a frame is not in it: the file answers with one of the classes, never with ``unknown``.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from incv3d.models.conversions import converted_precisions, open_conversion
from incv3d.models.entry import ModelEntry, ModelError
from incv3d.models.features import ensure_features
from incv3d.models.files import write_atomically
from incv3d.models.store import ModelStore, StoredModel
from incv3d.models.taught.model import HeadFacts, TaughtModel


def export_taught(taught: TaughtModel, store: ModelStore, file: Path) -> list[Path]:
    """Write a taught model as the flatbuffer `file`, with its labels and its description beside it.

    The network is the one of its base model that computed the features that were taught, or else another of
    the base. ``NAME.labels.txt`` has a class a line, ``NAME.json`` what a program needs to run it: the size
    and range of the pixels, the fit, and the section ``custom`` of a configuration.

    :param file: with the suffix ``.tflite``.
    :returns: the files that were written.
    :raises ModelError: the base is missing, is another, or has no flatbuffer; or a file cannot be written.
    """
    from incv3d.models.flatbuffer.append_head import append_head

    if file.suffix != ".tflite":
        raise ModelError(f"{file}: a taught model is exported as a .tflite file")
    base = store.get(taught.facts.base)
    taught.check_base(base.manifest.sha256)
    base = ensure_features(base, store, lambda line: None).model
    head, network = taught.head(), _flatbuffer_of(base, taught.facts.precision)
    bias = (head.bias - head.center @ head.weights).astype(np.float32)
    labels, description = file.with_suffix(".labels.txt"), file.with_suffix(".json")
    try:
        with _written(file) as unfinished:
            append_head(network, np.ascontiguousarray(head.weights.T), bias, unfinished)
        write_atomically(labels, "".join(f"{each}\n" for each in head.classes).encode())
        facts = _description(taught.facts, base.entry, file, labels)
        write_atomically(description, msgspec.json.format(msgspec.json.encode(facts)) + b"\n")
    except OSError as error:
        raise ModelError(f"{file}: cannot be written: {error.strerror}") from None
    return [file, labels, description]


def _flatbuffer_of(base: StoredModel, precision: str) -> Path:
    if base.entry.format == "tflite":
        return base.network
    found = converted_precisions(base.directory)
    if not found:
        raise ModelError(
            f"{base.name} has no flatbuffer to export; convert it: incv3d model convert {base.name}"
            if base.entry.format == "graphdef"
            else f"{base.name} is an .onnx network, which cannot be exported as a .tflite file"
        )
    return open_conversion(base, next((each for each in found if each == precision), found[-1])).network


@contextlib.contextmanager
def _written(file: Path) -> Iterator[Path]:
    """Yield a path beside `file` that takes its name when the block ends."""
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    os.fchmod(descriptor, 0o644)
    os.close(descriptor)
    unfinished = Path(name)
    try:
        yield unfinished
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def _description(facts: HeadFacts, entry: ModelEntry, file: Path, labels: Path) -> dict[str, Any]:
    """Return what a program needs to run the file; ``custom`` is that section of a configuration."""
    custom: dict[str, Any] = {
        "file": file.name, "labels": labels.name, "fit": facts.fit, "interpolation": entry.interpolation,
        "channel_order": entry.channel_order,
    }  # fmt: skip
    if facts.fit == "crop":
        # as in Preprocessor.fitted
        same = (facts.fit, facts.crop_fraction) == (entry.fit, entry.crop_fraction)
        resized = entry.resize_to if same else 0
        custom |= {"resize_to": resized} if resized else {"crop_fraction": facts.crop_fraction}
    ranges = entry.pixel_ranges
    if len(set(ranges)) == 1:
        custom["pixel_range"] = ranges[0]
    else:
        custom |= {key: [each / 255 for each in np.atleast_1d(value)]
                   for key, value in (("mean", entry.mean), ("std", entry.scale))}  # fmt: skip
    return {
        "name": facts.name, "base": facts.base, "taught_at": facts.taught_at, "accuracy": facts.accuracy,
        "classes": facts.classes, "width": entry.width, "height": entry.height, "layout": entry.layout,
        "pixel_ranges": ranges, "unknown": "not in the file, which always answers with a class",
        "custom": custom,
    }  # fmt: skip
