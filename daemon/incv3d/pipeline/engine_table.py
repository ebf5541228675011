"""Read the times of a model's engines on this machine, which are kept in the model's folder."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping

import msgspec

from incv3d.models.files import write_atomically
from incv3d.models.store import StoredModel
from incv3d.pipeline.engine_timing import Visit

TABLE = "engines.json"
FORMAT = 1


class Circumstances(msgspec.Struct, frozen=True, kw_only=True):
    """What the times depend on."""

    format: int
    networks: tuple[str, ...]
    """Title, library's version and content of each candidate."""
    threads: tuple[int, ...]
    processor: str


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """The time of one candidate with one number of threads."""

    network: str
    """The candidate's title."""
    threads: int
    run_ms: float
    """The median of its runs."""
    runs: int


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """The times of a model's networks on this machine."""

    circumstances: Circumstances
    measured_at: str
    timings: tuple[Timing, ...]
    failures: dict[str, str] = {}
    """Why candidates could not be timed, by title."""


def read_table(model: StoredModel) -> Table | None:
    """Return the times that were measured last, or None; they may no longer hold."""
    try:
        return msgspec.json.decode((model.directory / TABLE).read_bytes(), type=Table)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def rename_networks(model: StoredModel, renamed: Mapping[str, str]) -> None:
    """Keep the times of networks that were given another output, which takes no time.

    :param renamed: the new SHA-256 of each changed network by its old one.
    :raises OSError: the times cannot be written.
    """
    table = read_table(model)
    if table and renamed:
        networks = []
        for each in table.circumstances.networks:
            for old, new in renamed.items():
                each = each.replace(old, new)
            networks.append(each)
        kept = msgspec.structs.replace(table.circumstances, networks=tuple(networks))
        table = msgspec.structs.replace(table, circumstances=kept)
        write_atomically(model.directory / TABLE, msgspec.json.format(msgspec.json.encode(table)))


def current_table(model: StoredModel, circumstances: Circumstances) -> Table | None:
    """Return the times of a model, if they still hold."""
    table = read_table(model)
    return table if table and table.circumstances == circumstances else None


def timings_of(visits: Iterable[Visit]) -> tuple[Timing, ...]:
    """Return the median of all runs of each network and number of threads."""
    times: dict[tuple[str, int], list[float]] = {}
    for each in visits:
        times.setdefault((each.name, each.threads), []).extend(each.runs_ms)
    return tuple(
        Timing(network=name, threads=threads, run_ms=round(statistics.median(runs_ms), 3), runs=len(runs_ms))
        for (name, threads), runs_ms in times.items()
        if runs_ms
    )


def describe(table: Table, taken: Timing) -> str:
    """Return the choice and the times of the others in one line."""
    words = f"{taken.network}, {threads_in_words(taken.threads)}: {taken.run_ms:.1f} ms"
    same = [each for each in table.timings if each.network == taken.network and each != taken]
    if same:
        others = ", ".join(f"{each.run_ms:.1f} with {each.threads}" for each in same)
        words += f" ({others})"
    fastest: dict[str, Timing] = {}
    for each in sorted(table.timings, key=lambda each: each.run_ms):
        if each.network != taken.network:
            fastest.setdefault(each.network, each)
    found = [f"{each.network} {each.run_ms:.1f}" for each in fastest.values()]
    found += [f"{title} not timed: {reason}" for title, reason in table.failures.items()]
    return "; ".join(filter(None, (words, ", ".join(found))))


def threads_in_words(number: int) -> str:
    """Return the number with its noun."""
    return f"{number} thread{'s' * (number != 1)}"
