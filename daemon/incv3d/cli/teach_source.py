"""Get frames to teach from: of the running daemon, or of the configured source."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from incv3d.errors import Incv3dError
from incv3d.frames import Frame, Region

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from incv3d.client import Client
    from incv3d.config.loading import LoadedConfig
    from incv3d.protocol.latest_frame import LatestFrame

PAUSE_S = 0.05
"""Between two questions for a frame that is not there yet."""


SETTLE_S = 1.0
"""How long a camera that is opened for this may adjust its exposure."""


class CaptureError(Incv3dError):
    """There are no frames to capture."""


def captured(
    loaded: LoadedConfig, key: str | None, region: str | None, every_s: float, timeout_s: float
) -> Iterator[tuple[Frame, float]]:
    """Yield frames of the source, or of a region of it, with the time of each in seconds since 1970.

    :param key: a client's key file, for a daemon that requires one.
    :param region: None: the only region, or the whole image of a source without regions.
    :param every_s: the shortest time between two of them.
    :param timeout_s: the longest time to wait for one.
    :raises Incv3dError: there is no source, or it gives no frame.
    """
    from incv3d.tools.doctor.ports import ask_daemon

    answer = ask_daemon(loaded.config.intake, key)
    if answer.locked:
        raise CaptureError(
            "the running daemon requires a key: use --key, with the file of `incv3d keys add` (as root)"
        )
    if answer.facts:
        sources = {each["name"]: list(each["regions"]) for each in answer.facts.get("sources", ())}
        if not sources:
            raise CaptureError("the running daemon has no source: set source.path, and reload it")
        name = _chosen(sources, region)
        return _of_daemon(loaded, key, name, every_s, timeout_s)
    return _of_source(loaded, region, every_s, timeout_s)


def _chosen(sources: Mapping[str, Sequence[str]], region: str | None) -> str:
    """Return the source of the frames: ``NAME``, or ``NAME.REGION``.

    :param sources: the regions of each source, by its name.
    :param region: ``REGION``, or ``NAME`` or ``NAME.REGION`` where there are several sources; None: the only
        one.
    """
    names = {name: [f"{name}.{each}" for each in regions] or [name] for name, regions in sources.items()}
    every = [each for parts in names.values() for each in parts]
    if region is None:
        found = every
    else:
        found = [each for each in every if region in (each, each.partition(".")[2])] or names.get(region, [])
    if len(found) == 1:
        return found[0]
    if len(every) == 1:
        raise click.UsageError(f"--region: the source {every[0]} has no regions (source.regions)")
    is_one = len(sources) == 1
    shown = [each.partition(".")[2] if is_one else each for each in found or every]
    raise click.UsageError(f"--region must be one of {', '.join(shown)}")


def _of_daemon(
    loaded: LoadedConfig, key: str | None, source: str, every_s: float, timeout_s: float
) -> Iterator[tuple[Frame, float]]:
    from incv3d.client import Client
    from incv3d.tools.doctor.ports import reachable

    number = 0
    with Client(reachable(loaded.config.intake.bind), timeout_s, key=key) as client:
        while True:
            found = _next(client, source, number, timeout_s)
            number = found.number
            yield _frame(source, found), found.captured_at
            time.sleep(every_s)


def _next(client: Client, source: str, after: int, timeout_s: float) -> LatestFrame:
    deadline = time.monotonic() + timeout_s
    while not (found := client.frame(source, after)).number:
        if time.monotonic() > deadline:
            raise CaptureError(
                f"the running daemon has classified no frame of {source} within {timeout_s:g} s; look at its "
                "state: incv3d top --once"
            )
        time.sleep(PAUSE_S)
    return found


def _frame(source: str, found: LatestFrame) -> Frame:
    now = time.monotonic()
    return Frame(
        source,
        found.image,
        found.encoding,
        received=now,
        captured=now,
        width=found.width,
        height=found.height,
        transform=found.transform,
        colours=found.colours,
        region=Region(*found.region) if found.region else None,
    )


def _of_source(
    loaded: LoadedConfig, region: str | None, every_s: float, timeout_s: float
) -> Iterator[tuple[Frame, float]]:
    from incv3d.clock import unix_time
    from incv3d.sources import source_opener
    from incv3d.tools.conversion.calibration import captured_frames

    sections = {each.name: each for each in loaded.config.all_sources.values()}
    if not sections:
        raise CaptureError(
            "no daemon runs with this configuration, and it has no source (source.path) to capture from"
        )
    name = _chosen({each.name: list(each.regions) for each in sections.values()}, region)
    section = sections[name.partition(".")[0]]
    opener = source_opener(section)
    assert opener
    regions = {each: box for each, box in section.named_regions.items() if f"{section.name}.{each}" == name}
    is_camera = section.type not in ("images", "video")
    settled = time.monotonic() + SETTLE_S
    for frame in captured_frames(opener, max(every_s, section.frame_interval_s), timeout_s, regions):
        if frame.captured >= settled or not is_camera:
            yield frame, unix_time(frame.captured)
