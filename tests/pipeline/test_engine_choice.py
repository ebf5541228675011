"""The engine and the number of threads that run a model fastest are found by timing them, once."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from incv3d.config.schema import Config, SessionSection
from incv3d.engines import SessionError, SessionSpec
from incv3d.models.entry import ModelEntry
from incv3d.models.store import FLATBUFFER, LABELS, ModelStore
from incv3d.pipeline import engine_choice
from incv3d.pipeline.engine_choice import Candidate, Choice, choose_fastest, known_choice, time_all
from incv3d.pipeline.engine_table import TABLE, Circumstances, Table, Timing, read_table
from incv3d.pipeline.engine_timing import BUDGET_S, TimedNetwork, TimingJob, Visit, time_networks
from made_once import MadeOnce

SIDE = 8
SPEC = SessionSpec(Path("network"), "tflite", "", "", 2, 2, 4)


class Clock:
    """A clock that scripted Sessions advance."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class ScriptedSession:
    """A Session whose runs take the given times, again and again; the first takes twice as long."""

    def __init__(self, clock: Clock, runs_ms: list[float]) -> None:
        self._clock = clock
        self._runs_ms = [2 * runs_ms[0], *runs_ms * 20]

    def run(self, feed: object) -> np.ndarray:
        self._clock.now_s += self._runs_ms.pop(0) / 1000
        return np.zeros(2, np.float32)

    def close(self) -> None:
        pass


def visits_of(
    times_ms: dict[str, dict[int, float]], threads: tuple[int, ...], opening_s: float = 0.1
) -> list[tuple[str, int]]:
    """Return the visits that end, for networks that take these times with these numbers of threads."""
    clock = Clock()

    def open_network(spec: SessionSpec, prepared: Path | None) -> ScriptedSession:
        clock.now_s += opening_s
        return ScriptedSession(clock, [times_ms[spec.file.name][spec.threads]])

    networks = tuple(TimedNetwork(name=name, spec=replace(SPEC, file=Path(name))) for name in times_ms)
    job = TimingJob(networks=networks, threads=threads)
    visits = list(time_networks(job, open_network, clock))
    assert visits[::2] == [Visit(name=each.name, threads=each.threads) for each in visits[1::2]]
    assert all(min(each.runs_ms) == pytest.approx(times_ms[each.name][each.threads]) for each in visits[1::2])
    return [(each.name, each.threads) for each in visits[1::2]]


def test_every_network_is_visited_and_equal_ones_take_turns_in_three_rounds() -> None:
    visits = visits_of({"a": {4: 20.0}, "b": {4: 21.0}, "c": {4: 90.0}}, (4,))
    assert visits == [("a", 4), ("b", 4), ("c", 4), ("b", 4), ("a", 4), ("a", 4), ("b", 4)]


def test_only_those_that_are_not_much_slower_are_timed_with_fewer_threads() -> None:
    visits = visits_of({"a": {2: 20.0, 1: 10.0}, "b": {2: 41.0, 1: 1.0}}, (2, 1))
    assert visits[:3] == [("a", 2), ("b", 2), ("a", 1)]
    assert ("b", 1) not in visits
    # 20 ms are more than 1.6 times 10 ms: nothing is left to compare.
    assert len(visits) == 3


def test_a_slow_machine_times_every_network_once_and_ends_in_time() -> None:
    slow = {name: dict.fromkeys((4, 3, 2, 1), 3000.0) for name in "abc"}
    visits = visits_of(slow, (4, 3, 2, 1), opening_s=8.0)
    assert visits[:3] == [("a", 4), ("b", 4), ("c", 4)]
    assert len(visits) * 20 < BUDGET_S + 20


def test_a_network_that_fails_is_told_and_the_others_are_timed() -> None:
    clock = Clock()

    def open_network(spec: SessionSpec, prepared: Path | None) -> ScriptedSession:
        if spec.file.name == "bad":
            raise SessionError("cannot\nbe run")
        return ScriptedSession(clock, [10.0])

    networks = tuple(TimedNetwork(name=name, spec=replace(SPEC, file=Path(name))) for name in ("bad", "good"))
    found = list(time_networks(TimingJob(networks=networks, threads=(1,)), open_network, clock))
    assert Visit(name="bad", threads=1, failure="cannot be run") in found
    assert found[-1].name == "good" and found[-1].runs_ms


# What is taken.


def chosen(tmp_path: Path, times: dict[tuple[str, int], float], **failures: str) -> Choice:
    """Return the choice for times by title and threads; the later candidates need more memory."""
    candidates = []
    for number, title in enumerate(dict.fromkeys(title for title, _ in times)):
        file = tmp_path / title
        with file.open("wb") as empty:
            empty.truncate((number + 1) << 22)
        engine, _, precision = title.partition(" ")
        assert engine in ("litert", "tensorflow")
        spec = replace(SPEC, file=file)
        candidates.append(Candidate("litert" if engine == "litert" else "tensorflow", precision, spec, ""))
    table = Table(
        circumstances=Circumstances(format=1, networks=(), threads=(), processor=""),
        measured_at="",
        timings=tuple(
            Timing(network=title, threads=threads, run_ms=run_ms, runs=9)
            for (title, threads), run_ms in times.items()
        ),
        failures=failures,
    )
    found = engine_choice._choose(table, candidates)
    assert found
    return found


def test_the_fastest_is_taken_and_the_others_are_named(tmp_path: Path) -> None:
    times = {("litert int8", 2): 14.06, ("litert float32", 2): 26.0, ("tensorflow", 2): 31.2}
    found = chosen(tmp_path, {**times, ("litert int8", 1): 25.0})
    assert (found.candidate.title, found.threads) == ("litert int8", 2)
    assert found.why == (
        "litert int8, 2 threads: 14.1 ms (25.0 with 1); litert float32 26.0, tensorflow 31.2"
    )
    assert found.spec.threads == 2


def test_what_could_not_be_timed_is_said(tmp_path: Path) -> None:
    found = chosen(tmp_path, {("litert int8", 1): 14.0}, tensorflow="was killed")
    assert found.why == "litert int8, 1 thread: 14.0 ms; tensorflow not timed: was killed"


@pytest.mark.parametrize(
    ("times", "taken"),
    [
        ({("litert int8", 2): 10.3, ("litert float32", 2): 10.0}, ("litert int8", 2)),
        ({("litert int8", 2): 10.4, ("litert float32", 2): 10.0}, ("litert float32", 2)),
        ({("litert int8", 2): 10.0, ("litert int8", 1): 10.2}, ("litert int8", 1)),
        ({("litert int8", 2): 10.0, ("litert int8", 1): 10.5}, ("litert int8", 2)),
        ({("litert float32", 4): 9.9, ("tensorflow", 1): 9.8}, ("litert float32", 4)),
    ],
)
def test_of_equal_times_less_memory_and_then_fewer_threads_are_taken(
    tmp_path: Path, times: dict[tuple[str, int], float], taken: tuple[str, int]
) -> None:
    found = chosen(tmp_path, times)
    assert (found.candidate.title, found.threads) == taken


# With a real network, in a real process.


@pytest.fixture(scope="module")
def networks(made_once: MadeOnce) -> Path:
    return made_once.by("make_tflite.py", "wide")


@pytest.fixture
def store(networks: Path, tmp_path: Path) -> ModelStore:
    """A store with the model `wide`, of 9 MB, which LiteRT runs."""
    store = ModelStore(tmp_path)
    entry = ModelEntry(
        format="tflite", input="", output="", height=SIDE, width=SIDE, mean=128, scale=128, fit="stretch",
        interpolation="bilinear", outputs=5,
    )  # fmt: skip
    with store.adding("wide", entry) as model:
        shutil.copyfile(networks / "float.tflite", model / FLATBUFFER)
        (model / LABELS).write_text("".join(f"{index}\t\tclass {index}\n" for index in range(5)))
    return store


def choose(store: ModelStore, said: list[str], cores: int = 2, **session: object) -> Choice | None:
    config = Config(session=SessionSection(**session))
    model = store.get("wide")
    threads = config.session.threads or cores
    return choose_fastest(config, model, model.session_spec(threads), store, said.append)


def timed(said: list[str]) -> bool:
    return any(line.startswith("timing wide on this machine (once)") for line in said)


@pytest.mark.slow
def test_the_times_are_measured_once(store: ModelStore) -> None:
    said: list[str] = []
    found = choose(store, said)
    assert found and found.candidate.title == "litert" and found.threads in (1, 2) and timed(said)
    table = read_table(store.get("wide"))
    assert table and {(each.network, each.threads) for each in table.timings} == {
        ("litert", 1),
        ("litert", 2),
    }
    fastest = min(each.run_ms for each in table.timings)
    taken = next(each for each in table.timings if each.threads == found.threads)
    assert taken.run_ms <= 1.03 * fastest and table.failures == {}
    said.clear()
    assert choose(store, said) == found and not said
    model = store.get("wide")
    assert known_choice(Config(), model, model.session_spec(2)) == found


@pytest.mark.slow
@pytest.mark.parametrize("change", ["cores", "content", "processor", "library", "damaged"])
def test_they_are_measured_again_when_something_has_changed(
    store: ModelStore, networks: Path, change: str
) -> None:
    assert choose(store, [])
    path = store.get("wide").directory / TABLE
    table = msgspec.json.decode(path.read_bytes(), type=Table)
    known = table.circumstances
    if change == "cores":
        known = msgspec.structs.replace(known, threads=(4, 3, 2, 1))
    elif change == "content":
        known = msgspec.structs.replace(known, networks=(known.networks[0][:-1] + "x",))
    elif change == "processor":
        known = msgspec.structs.replace(known, processor="aarch64 0")
    elif change == "library":
        older = known.networks[0].replace("ai-edge-litert ", "ai-edge-litert 0.")
        known = msgspec.structs.replace(known, networks=(older,))
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(table, circumstances=known)))
    if change == "damaged":
        path.write_bytes(path.read_bytes()[:-40])
    model, said = store.get("wide"), list[str]()
    usual = known_choice(Config(), model, model.session_spec(2))
    assert usual and usual.why == "litert, 2 threads"
    assert choose(store, said) and timed(said)
    assert read_table(model).circumstances == table.circumstances


@pytest.mark.parametrize(
    "session", [{"engine": "litert"}, {"threads": 1}, {"threads": 2}, {"engine": "litert", "threads": 1}]
)
def test_nothing_is_timed_where_there_is_nothing_to_choose(store: ModelStore, session: dict) -> None:
    said: list[str] = []
    found = choose(store, said, **session)
    if "engine" in session:
        assert found is None
    else:
        assert found and found.spec.threads == session["threads"]
    assert not timed(said) and not (store.get("wide").directory / TABLE).exists()


def test_a_small_network_is_not_timed(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_choice, "WORTH_BYTES", 1 << 30)
    said: list[str] = []
    found = choose(store, said)
    assert found and found.threads == 2 and said == []


def test_a_store_that_cannot_be_written_is_not_timed(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_choice.os, "access", lambda path, mode: False)  # root may write everywhere
    said: list[str] = []
    found = choose(store, said)
    assert found and found.threads == 2
    assert said == ["the engines are not timed, because the store cannot be written"]


KILLER = """
import os, signal, sys
from incv3d.pipeline import engine_timing
from incv3d.child_process import decode
from incv3d.engines import open_session

def open_network(spec, prepared):
    if "bad" in spec.file.name:
        os.kill(os.getpid(), signal.SIGKILL)
    return open_session(spec, prepared)

engine_timing.time_networks.__defaults__ = (open_network, engine_timing.time.monotonic)
engine_timing.main(decode(sys.argv[1], engine_timing.TimingJob))
"""


@pytest.mark.slow
def test_a_network_that_ends_the_process_is_left_out(
    networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "killed_timer.py").write_text(KILLER)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(engine_choice, "TIMER", "killed_timer")
    spec = SessionSpec(networks / "float.tflite", "tflite", "", "", SIDE, SIDE, 2)
    bad = replace(spec, file=tmp_path / "bad.tflite")
    timings, failures = time_all(
        [TimedNetwork(name="bad", spec=bad), TimedNetwork(name="good", spec=spec)], (1,)
    )
    assert [(each.network, each.threads) for each in timings] == [("good", 1)]
    assert list(failures) == ["bad"] and "was killed by signal 9" in failures["bad"]


@pytest.mark.slow
def test_a_network_that_cannot_be_run_is_left_out(networks: Path, tmp_path: Path) -> None:
    spec = SessionSpec(networks / "float.tflite", "tflite", "", "", SIDE, SIDE, 2)
    (tmp_path / "bad.tflite").write_bytes(b"nonsense")
    bad = replace(spec, file=tmp_path / "bad.tflite")
    timings, failures = time_all(
        [TimedNetwork(name="bad", spec=bad), TimedNetwork(name="good", spec=spec)], (1,)
    )
    assert [each.network for each in timings] == ["good"] and "not a LiteRT model" in failures["bad"]


def test_a_graph_alone_is_not_timed_because_its_engine_keeps_its_threads(store: ModelStore) -> None:
    entry = ModelEntry(
        format="graphdef", input="pixels:0", output="scores:0", height=SIDE, width=SIDE, mean=128, scale=128,
        fit="stretch", interpolation="bilinear", outputs=5,
    )  # fmt: skip
    with store.adding("graph", entry) as folder:
        (folder / "graph.pb").write_bytes(bytes(1 << 20))
        (folder / LABELS).write_text("".join(f"{index}\t\tclass {index}\n" for index in range(5)))
    model, said = store.get("graph"), list[str]()
    found = choose_fastest(Config(), model, model.session_spec(2), store, said.append)
    assert found and found.why == "tensorflow, 2 threads" and said == []
    assert read_table(model) is None


def test_an_engine_that_keeps_its_threads_is_visited_with_all_of_them_only() -> None:
    clock = Clock()
    graph = TimedNetwork(name="graph", spec=replace(SPEC, format="graphdef", file=Path("graph")))
    job = TimingJob(networks=(graph, TimedNetwork(name="flat", spec=SPEC)), threads=(2, 1))
    found = {
        (each.name, each.threads)
        for each in time_networks(job, lambda spec, prepared: ScriptedSession(clock, [10.0]), clock)
    }
    assert found == {("graph", 2), ("flat", 2), ("flat", 1)}
