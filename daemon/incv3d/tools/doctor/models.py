"""Check the daemon's model: present, undamaged, prepared, and small enough for the memory."""

from __future__ import annotations

from pathlib import Path

from incv3d.config.schema import Config
from incv3d.engines import EngineName, engine_for, engine_of
from incv3d.engines.tensorflow import plain_session_mb
from incv3d.errors import Incv3dError
from incv3d.machine import available_memory_mb
from incv3d.models.catalog import load_catalog
from incv3d.models.conversions import converted_precisions, folder_name
from incv3d.models.prepare import PREPARING_MB, find_preparation_failure, is_prepared
from incv3d.models.readiness import needs_conversion
from incv3d.models.resolve import AUTO, CUSTOM, EMBEDDED, PREFERRED, needs_fetch
from incv3d.models.store import FLATBUFFER, ModelStore, StoredModel
from incv3d.models.taught.model import TaughtModel
from incv3d.models.verify import verify_model
from incv3d.pipeline.engine_choice import known_choice
from incv3d.pipeline.session_spec import spec_of
from incv3d.pipeline.taught import find_taught
from incv3d.tools.doctor.findings import Finding
from incv3d.tools.doctor.host import Host
from incv3d.tools.doctor.installation import Installation

MIB = 1024 * 1024
ELSEWHERE = "prepare it on a larger machine: run incv3d model export there and incv3d model import here"


def check_models(machine: Host, setup: Installation, running: bool) -> list[Finding]:
    """Report whether the configured model's files are unchanged, and the memory that it needs.

    Other models in the store are not read: on a Raspberry Pi each takes seconds (``incv3d model verify``).

    :param running: whether a daemon already runs here.
    """
    store = ModelStore(setup.store)
    try:
        found = find_taught(setup.config, store)
    except Incv3dError as error:
        return [
            Finding("model", "problem", str(error), "correct model.name or source.regions, or teach again")
        ]
    return [*_check_base(machine, found.config, store, running), *map(_check_head, found.each)]


def _check_head(model: TaughtModel) -> Finding:
    facts = model.facts
    if damages := model.damages():
        return Finding("taught", "problem", damages[0], f"then run: incv3d model verify {model.name}")
    classes = ", ".join(facts.classes)
    return Finding(
        "taught", "ok", f"{model.name}, taught on {facts.base}: {classes}; all files are undamaged"
    )


def _check_base(machine: Host, config: Config, store: ModelStore, running: bool) -> list[Finding]:
    name = name_in_force(config, store)
    there = store.names()
    others = [each for each in there if each != name]
    beside = f"; also in the store: {', '.join(others)} (check with incv3d model verify)" if others else ""
    if name not in there:
        return [_absent(machine, config, store, name, beside)]
    damages = verify_model(store, name)
    if damages:
        fix = f"then run: incv3d model verify {name}"
        return [Finding("model", "problem", f"{name}: {damage}", fix) for damage in damages]
    stored = store.get(name)
    megabytes = f"{stored.size_bytes / 1e6:.1f} MB"
    whole = Finding("model", "ok", f"{name}, {megabytes}: all files are undamaged{beside}")
    return [whole, *_memory(machine, config, stored, running)]


def name_in_force(config: Config, store: ModelStore) -> str:
    """Return the name of the model that the daemon would use if it fetched nothing."""
    name = config.model.name
    if name != AUTO:
        return name
    if config.custom.file:
        return CUSTOM
    return PREFERRED if PREFERRED in store.names() else EMBEDDED


def _absent(machine: Host, config: Config, store: ModelStore, name: str, beside: str) -> Finding:
    if name == EMBEDDED:
        free_mb = available_memory_mb(machine.proc)
        what = f"{name} is built on first use{beside}"
        if config.model.name == AUTO and config.model.fetch_wait_s:
            what = f"the first start fetches {PREFERRED} (89 MB); without a network it builds {name}{beside}"
        if free_mb is not None and free_mb < PREPARING_MB:
            short = f"{what}; that takes up to {PREPARING_MB} MB of memory, {free_mb:.0f} MB are free"
            return Finding("model", "warning", short, ELSEWHERE)
        return Finding("model", "note", what)
    if config.model.fetch_wait_s and needs_fetch(name, store):
        fix = f"to fetch it now: incv3d model fetch {name}"
        return Finding("model", "note", f"the first start fetches {name}{beside}", fix)
    file = config.custom.file
    if file and name not in load_catalog():
        if not Path(file).exists():
            return Finding("model", "problem", f"custom.file: {file}: no such file", "correct custom.file")
        return Finding("model", "note", f"the first start imports {name} from {file}{beside}")
    fix = f"incv3d model fetch {name}, or incv3d model import FILE --name {name}"
    return Finding("model", "problem", f"{name} is not in the store{beside}", fix)


def _memory(machine: Host, config: Config, stored: StoredModel, running: bool) -> list[Finding]:
    """Report how much memory this model needs on its engine, and whether that is available."""
    name = "model memory"
    engine: EngineName = "tensorflow"
    size_bytes, ready = stored.size_bytes, is_prepared(stored)
    precisions = converted_precisions(stored.directory)
    choice = known_choice(config, stored, spec_of(config, stored))
    if choice:
        engine, ready = choice.candidate.engine, ready or choice.candidate.spec.format != "graphdef"
        size_bytes = choice.candidate.spec.file.stat().st_size
    elif stored.entry.format != "graphdef":
        engine, ready = engine_for(stored.entry.format).name, True
    elif precisions and config.session.engine != "tensorflow":
        engine, ready = "litert", True
        size_bytes = (stored.directory / folder_name(precisions[0]) / FLATBUFFER).stat().st_size
    elif needs_conversion(config.session.engine, stored.entry.format):
        engine, ready = "litert", True
    needed_mb = engine_of(engine).needed_mb(size_bytes / MIB)
    what = f"{stored.name} on {engine} takes about {needed_mb:.0f} MB"
    refusal = None if ready else find_preparation_failure(stored)
    if refusal:
        needed_mb, ready = plain_session_mb(size_bytes), True
        what = f"{stored.name} on {engine} takes about {needed_mb:.0f} MB unprepared ({refusal.reason})"
    free_mb = available_memory_mb(machine.proc)
    if running or free_mb is None:
        return [Finding(name, "ok", what)]
    what += f", {free_mb:.0f} MB available"
    if free_mb < needed_mb:
        smaller = (
            f"incv3d model convert {stored.name} --to int8" if engine == "tensorflow" else "a smaller model"
        )
        fix = f"stop other programs, or use less: {smaller}, or model.name: {EMBEDDED}"
        return [Finding(name, "problem", what, fix)]
    if not ready and free_mb < PREPARING_MB:
        return [
            Finding(name, "warning", f"{what}; preparing it once takes up to {PREPARING_MB} MB", ELSEWHERE)
        ]
    if not ready:
        what += "; not prepared yet: the next start does that"
        return [Finding(name, "note", what, "to prepare it now: incv3d model prepare")]
    return [Finding(name, "ok", what)]
