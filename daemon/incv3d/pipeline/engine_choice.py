"""Choose the engine and the number of threads that run a model fastest on this machine, by timing them.

The times are kept in the model's folder, and measured again when anything has changed that they depend on.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version

import msgspec

from incv3d.child_process import encode
from incv3d.clock import timestamp
from incv3d.config.schema import Config
from incv3d.engines import EngineName, SessionSpec, engine_for
from incv3d.machine import available_memory_mb, processor
from incv3d.models.conversions import StoredConversion, converted_precisions, open_conversion
from incv3d.models.entry import ModelError
from incv3d.models.files import write_atomically
from incv3d.models.packed_weights import drop_packed, ensure_ready
from incv3d.models.prepare import ChildError, is_prepared, run_child
from incv3d.models.store import ModelStore, StoredModel
from incv3d.pipeline.engine_table import (
    FORMAT,
    TABLE,
    Circumstances,
    Table,
    Timing,
    current_table,
    describe,
    threads_in_words,
    timings_of,
)
from incv3d.pipeline.engine_timing import TimedNetwork, TimingJob, Visit

LOG = logging.getLogger(__name__)
TIMER = "incv3d.pipeline.engine_timing"
TIE = 1.03
"""Times are equal if they differ by less; then less memory decides, and fewer threads."""
WORTH_BYTES = 256 << 10
"""Networks below that run in about a millisecond, and are not timed."""
EVERY_THREADS_UP_TO = 4
"""With more cores, only powers of two are timed."""
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network in the store that can run the model, on its engine."""

    engine: EngineName
    precision: str
    """The precision of the conversion; empty for the model's own network."""
    spec: SessionSpec
    sha256: str
    """Of the network's file."""
    conversion: StoredConversion | None = None

    @property
    def title(self) -> str:
        """Its name for people, such as ``litert int8``."""
        return f"{self.engine} {self.precision}".rstrip()

    @property
    def needed_mb(self) -> float:
        """The approximate memory that a daemon needs to run it, MiB."""
        return engine_for(self.spec.format).needed_mb(self.spec.file.stat().st_size / MIB)


@dataclass(frozen=True, slots=True)
class Choice:
    """The candidate to run."""

    candidate: Candidate
    threads: int
    why: str
    """What is taken, and the times that decided, in one line: ``litert int8, 2 threads: 14.1 ms; ...``."""

    @property
    def spec(self) -> SessionSpec:
        """The spec for its Session."""
        return replace(self.candidate.spec, threads=self.threads)


def find_candidates(
    model: StoredModel, own: SessionSpec, report: Callable[[str], None] = lambda line: None
) -> list[Candidate]:
    """Return what the store holds for `model` that runs on an installed engine.

    A graph that is not prepared is no candidate if there is another: preparing it takes minutes and much
    memory. Damaged conversions are left out.

    :param own: the spec of the model's own network.
    :param report: called with one line for each damaged conversion.
    :returns: those that are usually faster first.
    """
    found: list[Candidate] = []
    if model.entry.format == "graphdef" and engine_for("tflite").is_installed:
        for precision in converted_precisions(model.directory):
            try:
                conversion = open_conversion(model, precision)
            except ModelError as error:
                report(str(error))
                continue
            spec = conversion.session_spec(model, own.threads)
            found.append(Candidate("litert", precision, spec, conversion.facts.sha256, conversion))
    engine = engine_for(model.entry.format)
    if engine.is_installed and (not found or is_prepared(model)):
        found.append(Candidate(engine.name, "", own, model.manifest.sha256))
    return found


def known_choice(config: Config, model: StoredModel, own: SessionSpec) -> Choice | None:
    """Return the choice that holds now, without timing anything.

    :param own: the spec of the model's own network, with all threads that a run may use.
    :returns: None if nothing in the store runs on an installed engine, or the configuration names an engine.
    """
    if config.session.engine != "auto":
        return None
    candidates = _allowed(config, model, own, find_candidates(model, own))
    table = current_table(model, _circumstances(candidates, _thread_counts(config, own)))
    return (_choose(table, candidates) if table else None) or _usual_choice(candidates)


def choose_fastest(
    config: Config, model: StoredModel, own: SessionSpec, store: ModelStore, progress: Callable[[str], None]
) -> Choice | None:
    """Return the candidate that runs `model` fastest; time the candidates if their times are not known.

    :param own: the spec of the model's own network, with all threads that a run may use.
    :param progress: called with one line if they must be timed.
    :returns: None if nothing in the store runs on an installed engine, or the configuration names an engine.
    """
    if config.session.engine != "auto":
        return None
    candidates = _allowed(config, model, own, find_candidates(model, own, LOG.warning))
    table = _table_of(config, model, own, candidates, store, progress)
    return (_choose(table, candidates) if table else None) or _usual_choice(candidates)


def _allowed(config: Config, model: StoredModel, own: SessionSpec, found: list[Candidate]) -> list[Candidate]:
    """Return the candidates that convert frames as configured.

    With ``exact``, a graph that can decode JPEGs does that itself, which no conversion of it can.
    """
    engine = engine_for(own.format)
    if config.session.preprocess == "exact" and own.jpeg_input and engine.is_installed:
        return [Candidate(engine.name, "", own, model.manifest.sha256)]
    return found


def _usual_choice(candidates: Sequence[Candidate]) -> Choice | None:
    """Return the candidate that is usually the fastest, for networks that are not timed."""
    if not candidates:
        return None
    first = candidates[0]
    return Choice(first, first.spec.threads, f"{first.title}, {threads_in_words(first.spec.threads)}")


def _table_of(
    config: Config,
    model: StoredModel,
    own: SessionSpec,
    candidates: Sequence[Candidate],
    store: ModelStore,
    progress: Callable[[str], None],
) -> Table | None:
    """Return the times of the candidates, or None if there is nothing to choose or they cannot be timed."""
    threads = _thread_counts(config, own)
    if sum(_combinations(each, threads) for each in candidates) < 2 or model.size_bytes < WORTH_BYTES:
        return None
    circumstances = _circumstances(candidates, threads)
    if table := current_table(model, circumstances):
        return table
    if not os.access(model.directory, os.W_OK):
        progress("the engines are not timed, because the store cannot be written")
        return None
    try:
        return _measure_once(model, candidates, circumstances, store, progress)
    except ModelError as error:
        LOG.warning("the engines could not be timed: %s", error)
        return None


def _combinations(candidate: Candidate, threads: tuple[int, ...]) -> int:
    """Return with how many numbers of threads a candidate is timed."""
    return 1 if engine_for(candidate.spec.format).fixes_threads else len(threads)


def _thread_counts(config: Config, own: SessionSpec) -> tuple[int, ...]:
    """Return the numbers of threads to time, the largest first."""
    cores = own.threads
    if config.session.threads:
        return (cores,)
    counts = range(1, cores + 1)
    powers = [each for each in counts if each & (each - 1) == 0 or each == cores]
    return tuple(reversed(counts if cores <= EVERY_THREADS_UP_TO else powers))


def _circumstances(candidates: Sequence[Candidate], threads: tuple[int, ...]) -> Circumstances:
    def described(each: Candidate) -> str:
        package = engine_for(each.spec.format).package
        try:
            number = version(package)
        except PackageNotFoundError:
            number = ""
        caches = " cache_filters" if each.spec.cache_filters else ""
        return f"{each.title} {package} {number} {each.sha256}{caches}"

    networks = tuple(described(each) for each in candidates)
    return Circumstances(format=FORMAT, networks=networks, threads=threads, processor=processor())


def _measure_once(
    model: StoredModel,
    candidates: Sequence[Candidate],
    circumstances: Circumstances,
    store: ModelStore,
    progress: Callable[[str], None],
) -> Table:
    """Return the table, measured by this process or by another one in the meantime."""
    networks, failures = [], {}
    for each in candidates:
        free_mb = available_memory_mb()
        if free_mb is not None and free_mb < each.needed_mb:
            failures[each.title] = f"takes {each.needed_mb:.0f} MB, {free_mb:.0f} MB are free"
            continue
        prepared = ensure_ready(model, store, progress, each.conversion)
        networks.append(TimedNetwork(name=each.title, spec=each.spec, prepared=prepared))
    with store.exclusively():
        if table := current_table(model, circumstances):
            return table
        if networks:
            titles = ", ".join(each.name for each in networks)
            progress(f"timing {model.name} on this machine (once): {titles}")
        timings, failed = time_all(networks, circumstances.threads)
        table = Table(
            circumstances=circumstances,
            measured_at=timestamp(time.time()),
            timings=timings,
            failures=failures | failed,
        )
        try:
            write_atomically(model.directory / TABLE, msgspec.json.format(msgspec.json.encode(table)))
        except OSError as error:
            LOG.warning("%s: the times cannot be kept: %s", model.directory / TABLE, error.strerror)
        chosen = _choose(table, candidates)
        for each in candidates:
            if each.conversion and chosen and each is not chosen.candidate:
                drop_packed(each.spec.file)
    return table


def time_all(
    networks: Sequence[TimedNetwork], threads: tuple[int, ...]
) -> tuple[tuple[Timing, ...], dict[str, str]]:
    """Time networks in a child process; return their times, and the failures by name.

    A network that ends the process, because memory is too low for example, is a failure; the others are then
    timed by another process.

    :raises ModelError: the child takes too long.
    """
    failures: dict[str, str] = {}
    while left := tuple(each for each in networks if each.name not in failures):
        visits: list[Visit] = []

        def heard(line: str, visits: list[Visit] = visits) -> None:
            visits.append(msgspec.json.decode(line, type=Visit))

        try:
            run_child(TIMER, [encode(TimingJob(networks=left, threads=threads))], heard=heard)
        except ChildError as error:
            if not visits or visits[-1].runs_ms or visits[-1].failure:
                raise  # it failed between two visits
            failures[visits[-1].name] = str(error)
            continue
        failures |= {each.name: each.failure for each in visits if each.failure}
        return timings_of(each for each in visits if each.name not in failures), failures
    return (), failures


def _choose(table: Table, candidates: Sequence[Candidate]) -> Choice | None:
    """Return the fastest candidate, or among equally fast ones that with the least memory and threads."""
    by_title = {each.title: each for each in candidates}
    timings = [each for each in table.timings if each.network in by_title]
    if not timings:
        return None
    best_ms = min(each.run_ms for each in timings)
    equal = [each for each in timings if each.run_ms <= TIE * best_ms]
    taken = min(equal, key=lambda each: (by_title[each.network].needed_mb, each.threads, each.run_ms))
    return Choice(by_title[taken.network], taken.threads, describe(table, taken))
