"""``incv3d teach export``: write a taught model as one network for other programs."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from incv3d.cli.options import config_option
from incv3d.cli.output import say
from incv3d.cli.teach_options import open_teaching

if TYPE_CHECKING:
    from incv3d.cli.teach_options import Teaching
    from incv3d.models.entry import ModelEntry
    from incv3d.models.taught.model import HeadFacts, TaughtModel


@click.command()
@click.argument("name")
@click.argument("file", metavar="FILE.tflite", type=click.Path(dir_okay=False, writable=True))
@config_option
def export(name: str, file: str, config_path: str | None) -> None:
    """Write the taught model NAME to FILE.tflite, and its labels to FILE.txt beside it.

    LiteRT runs it alone, without incv3d. The configuration with which another incv3d runs it is printed.
    """
    from incv3d.models.entry import ModelError
    from incv3d.models.taught.head import UNKNOWN

    out = Path(file)
    if out.suffix != ".tflite":
        raise click.UsageError("FILE must end in .tflite")
    teaching = open_teaching(config_path, changes=False)
    model = teaching.taught.get(name)
    entry = teaching.models.get(model.facts.base).entry
    labels = out.with_suffix(".txt")
    try:
        _write(teaching, model, out)
        labels.write_text("".join(f"{each}\n" for each in (*model.facts.classes, UNKNOWN)), "utf-8")
    except OSError as error:
        raise ModelError(f"{error.filename or out}: cannot be written: {error.strerror}") from None
    say(
        f"exported {name} to {out} and {labels}, {out.stat().st_size / 1e6:.1f} MB; in another configuration:"
    )
    click.echo(_settings(model.facts, entry, out, labels), nl=False)


def _write(teaching: Teaching, model: TaughtModel, out: Path) -> None:
    from incv3d.models.entry import ModelError
    from incv3d.models.flatbuffer.features import mark_features
    from incv3d.models.flatbuffer.with_head import write_with_head

    base = teaching.models.get(model.facts.base)
    model.check_base(base.manifest.sha256)
    with tempfile.TemporaryDirectory(dir=out.absolute().parent, prefix=".export-") as folder:
        # A copy, because the store's own file may be in use.
        network = Path(shutil.copy(_flatbuffer(teaching, model, Path(folder)), folder))
        if not mark_features(network, base.entry.output):
            raise ModelError(f"{base.name} has no layer of features that can be found")
        unfinished = Path(folder) / out.name
        write_with_head(network, model.head(), unfinished)
        unfinished.replace(out)


def _flatbuffer(teaching: Teaching, model: TaughtModel, scratch: Path) -> Path:
    """Return the base as a flatbuffer, in the precision in which it was taught if there is one.

    :param scratch: where to convert it if it was not converted yet: the store may belong to another user.
    """
    from incv3d.models.conversions import converted_precisions, folder_name, open_conversion
    from incv3d.models.entry import ModelError
    from incv3d.models.flatbuffer.float32 import add_float32
    from incv3d.models.store import FLATBUFFER

    base = teaching.models.get(model.facts.base)
    if base.entry.format == "tflite":
        return base.network
    if base.entry.format == "onnx":
        raise ModelError(f"{base.name} is an ONNX network, which cannot be exported with a head")
    there = converted_precisions(base.directory)
    if not there:
        say(f"converting {base.name} to float32")
        add_float32(base, scratch)
        return scratch / folder_name("float32") / FLATBUFFER
    return open_conversion(
        base, next((each for each in there if each == model.facts.precision), there[0])
    ).network


def _settings(facts: HeadFacts, entry: ModelEntry, out: Path, labels: Path) -> str:
    """Return the section of a configuration that runs the exported network."""
    import yaml

    ranges = [[float(f"{each:.9g}") for each in both] for both in entry.pixel_ranges]
    custom: dict[str, object] = {
        "file": str(out.absolute()),
        "labels": str(labels.absolute()),
        "fit": facts.fit,
    }
    if len({tuple(each) for each in ranges}) == 1:
        custom["pixel_range"] = ranges[0]
    else:
        custom["std"] = [1 / (high - low) for low, high in ranges]
        custom["mean"] = [-low / (high - low) for low, high in ranges]
    if facts.fit == "crop":
        # as in Preprocessor.fitted
        is_own = (facts.fit, facts.crop_fraction) == (entry.fit, entry.crop_fraction)
        if is_own and entry.resize_to:
            custom["resize_to"] = entry.resize_to
        else:
            custom["crop_fraction"] = facts.crop_fraction
    custom |= {"interpolation": entry.interpolation, "channel_order": entry.channel_order}
    settings = {"model": {"name": f"{facts.name}-exported"}, "custom": {**custom, "scores": "probabilities"}}
    return yaml.safe_dump(settings, sort_keys=False)
