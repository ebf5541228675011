"""``incv3d snapshot``: save an image from the camera."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from incv3d.cli.options import (
    config_option,
    frame_timeout_option,
    session_options,
    source_keys,
    source_option,
)
from incv3d.cli.output import leave, say

if TYPE_CHECKING:
    from incv3d.config.schema import Config
    from incv3d.config.source import SourceSection
    from incv3d.frames import Frame
    from incv3d.images.annotate import Annotation


@click.command()
@click.argument("out", metavar="OUT.jpg", type=click.Path(dir_okay=False, writable=True))
@config_option
@session_options
@source_option
@click.option("--classify", "with_labels", is_flag=True, help="Draw the labels on the image.")
@click.option(
    "--settle",
    "settle_s",
    type=click.FloatRange(0, 60),
    default=1.0,
    show_default=True,
    help="Seconds to let the camera adjust its exposure.",
)
@frame_timeout_option
def snapshot(
    out: str,
    config_path: str | None,
    model_name: str | None,
    threads: int | None,
    source_path: str | None,
    with_labels: bool,
    settle_s: float,
    timeout_s: float,
) -> None:
    """Save an image from the configured source to OUT.jpg, rotated and with its regions.

    Of several sources it takes the first, or the one that --source names. Only one program at a time
    can use a camera: stop the daemon first.
    """
    from incv3d.config.loading import load_config
    from incv3d.images.annotate import decode_image, save_jpeg
    from incv3d.sources import SourceError, source_opener
    from incv3d.sources.single_frame import take_frame

    overrides = {"model.name": model_name, "session.threads": threads}
    config = load_config(config_path, overrides=overrides).config
    source = next((each for each in config.all_sources.values() if each.name == source_path), None)
    if source is None:
        config = load_config(config_path, overrides={**overrides, **source_keys(source_path)}).config
        source = next(iter(config.all_sources.values()), config.source)
    opener = source_opener(source)
    if opener is None:
        raise SourceError(
            "no source is configured: set source.path or use --source (`incv3d cameras` lists cameras)"
        )
    frame = take_frame(opener, settle_s, timeout_s)
    picture = decode_image(frame, config.intake.max_pixels)
    seen = _classify(config, source, frame) if with_labels else _regions(source)
    save_jpeg(picture, seen, out)
    height, width = picture.shape[:2]
    click.echo(f"{out}: {width}x{height}")
    for each in seen:
        if each.region:
            left, top, right, bottom = each.region.box(width, height)
            click.echo(f"{each.name}: {right - left}x{bottom - top} at {left},{top}")
        for prediction in each.predictions:
            click.echo(f"  {prediction.score:8.5f}  {prediction.label}")
    # The camera library may have threads of its own, or a call to it may hang.
    leave(0)


def _regions(source: SourceSection) -> list[Annotation]:
    from incv3d.images.annotate import Annotation

    return [Annotation((), name, region) for name, region in source.named_regions.items()]


def _classify(config: Config, source: SourceSection, frame: Frame) -> list[Annotation]:
    """Classify each region of `frame`, or all of it."""
    import contextlib

    from incv3d.config.paths import state_directory
    from incv3d.frames import by_region
    from incv3d.images.annotate import Annotation
    from incv3d.pipeline.loader import load_classifier, open_store

    store = open_store(config, state_directory(os.environ))
    with contextlib.closing(
        load_classifier(config, store, warmup_runs=0, progress=say).classifier
    ) as classifier:
        parts = by_region(frame, source.named_regions)
        results = [classifier.classify(classifier.prepare(part)) for part in parts]
    names = list(source.regions) or [""]
    return [
        Annotation(result.predictions, name, part.region)
        for result, name, part in zip(results, names, parts, strict=True)
    ]
