"""Weights that are packed into a file once and mapped: the same scores, whatever happens to the file."""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from incv3d.engines import open_session
from incv3d.engines.weight_cache import INDEX, WEIGHTS, WeightIndex
from incv3d.models import packed_weights
from incv3d.models.entry import ModelEntry
from incv3d.models.leftovers import remove_leftovers
from incv3d.models.packed_weights import ensure_ready
from incv3d.models.store import FLATBUFFER, LABELS, ModelStore
from made_once import MadeOnce

pytestmark = pytest.mark.slow

SIDE = 8
KINDS = ("float", "other", "int8", "int16")
PIXELS = np.random.default_rng(8).uniform(-1, 1, (8, SIDE, SIDE, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def made(made_once: MadeOnce) -> Path:
    """A store with the networks `KINDS`; the weights of `float`, `other` and `int8` are packed."""
    folder = made_once.by("make_tflite.py", "wide")
    store = ModelStore(folder)
    for kind in KINDS:
        entry = ModelEntry(
            format="tflite", input="", output="", height=SIDE, width=SIDE, mean=128, scale=128, fit="stretch",
            interpolation="bilinear", outputs=5,
        )  # fmt: skip
        with store.adding(kind, entry) as model:
            shutil.copyfile(folder / f"{kind}.tflite", model / FLATBUFFER)
            (model / LABELS).write_text("".join(f"{index}\t\tclass {index}\n" for index in range(5)))
    for kind in ("float", "other", "int8"):
        assert ready(store, kind)
    return folder


@pytest.fixture
def store(made: Path, tmp_path: Path) -> ModelStore:
    """A copy of that store."""
    shutil.copytree(made / "models", tmp_path / "models")
    return ModelStore(tmp_path)


def ready(store: ModelStore, name: str, say: Callable[[str], None] = print) -> Path | None:
    return ensure_ready(store.get(name), store, say)


def ready_at_once(store: ModelStore, name: str) -> Path | None:
    """Get what is ready, and fail if something is made."""
    said: list[str] = []
    found = ready(store, name, said.append)
    assert said == []
    return found


def scores(store: ModelStore, name: str, weights: Path | None, threads: int = 1) -> np.ndarray:
    with contextlib.closing(open_session(store.get(name).session_spec(threads), weights)) as session:
        return np.stack([session.run(each[np.newaxis]) for each in PIXELS])


def files_of(store: ModelStore, name: str) -> set[str]:
    return {path.name for path in store.get(name).directory.iterdir()}


@pytest.mark.parametrize("name", ["float", "int8"])
@pytest.mark.parametrize("threads", [1, 3])
def test_mapped_weights_give_the_same_scores(store: ModelStore, name: str, threads: int) -> None:
    weights = ready_at_once(store, name)
    assert weights and weights.stat().st_size > 2_000_000
    np.testing.assert_array_equal(scores(store, name, weights, threads), scores(store, name, None, threads))


MEMORY = """
import sys
from pathlib import Path
from incv3d.engines import SessionSpec, open_session
from incv3d.machine import private_memory_mb
session = open_session(SessionSpec(Path(sys.argv[1]), "tflite", "", "", 8, 8, 1), Path(sys.argv[2]))
maps = Path("/proc/self/maps").read_text()
print(private_memory_mb(), sys.argv[2] in maps, "Gpu" in maps)
if sys.argv[3] == "close":
    session.close()
"""


@pytest.mark.parametrize("end", ["close", "leave open"])
def test_they_are_mapped_and_the_library_says_nothing(store: ModelStore, end: str) -> None:
    def run(weights: str) -> list[str]:
        command = [sys.executable, "-c", MEMORY, str(store.get("float").network), weights, end]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.split()

    weights = str(ready_at_once(store, "float"))
    mapped_mb, is_mapped, uses_gpu = run(weights)
    assert is_mapped == "True"
    # The processor of a Raspberry Pi 3 or 4 lacks instructions that LiteRT's library for GPUs executes.
    assert uses_gpu == "False"
    # With a name in a folder that is not there, XNNPACK packs them into memory: 9.4 MB.
    copied_mb, is_mapped, _ = run(f"{weights}/nowhere")
    assert is_mapped == "False" and float(copied_mb) - float(mapped_mb) > 5


@pytest.mark.parametrize("folder", ["wörter 日本 😀", 'a "quote" and a back\\slash'])
def test_they_are_mapped_from_a_folder_of_any_name(made: Path, tmp_path: Path, folder: str) -> None:
    shutil.copytree(made / "models", tmp_path / folder / "models")
    store = ModelStore(tmp_path / folder)
    weights = ready_at_once(store, "float")
    assert weights
    with contextlib.closing(open_session(store.get("float").session_spec(1), weights)):
        assert os.fsencode(weights) in Path("/proc/self/maps").read_bytes()


def _change(weights: Path, change: Callable[[bytearray], bytes]) -> None:
    weights.write_bytes(change(bytearray(weights.read_bytes())))


def _flip(content: bytearray) -> bytes:
    content[len(content) // 2] ^= 1
    return content


def _lose_a_page(content: bytearray) -> bytes:
    content[40960:45056] = bytes(4096)
    return content


def _swap_pages(content: bytearray) -> bytes:
    content[40960:45056], content[81920:86016] = content[81920:86016], content[40960:45056]
    return content


DAMAGES = {
    "one bit": _flip,
    "a lost page": _lose_a_page,
    "two pages in each other's place": _swap_pages,
    "truncated": lambda content: content[:-5000],
    "longer": lambda content: content + bytes(5000),
    "empty": lambda content: b"",
    "noise": lambda content: np.random.default_rng(0).bytes(len(content)),
    "no header": lambda content: bytes(64) + content[64:],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_made_again(store: ModelStore, damage: str) -> None:
    weights = ready_at_once(store, "float")
    assert weights
    whole = weights.read_bytes()
    _change(weights, DAMAGES[damage])
    assert weights.read_bytes() != whole
    said: list[str] = []
    again = ready(store, "float", said.append)
    assert said == ["packing the weights of float for this processor (once)"]
    np.testing.assert_array_equal(scores(store, "float", again), scores(store, "float", None))
    assert ready_at_once(store, "float") == again


@pytest.mark.parametrize("files", [(WEIGHTS,), (INDEX,), (WEIGHTS, INDEX)])
def test_another_networks_weights_are_not_taken(store: ModelStore, files: tuple[str, ...]) -> None:
    for file in files:
        shutil.copyfile(store.get("other").directory / file, store.get("float").directory / file)
    got = scores(store, "float", ready(store, "float"))
    np.testing.assert_array_equal(got, scores(store, "float", None))
    assert np.abs(got - scores(store, "other", None)).max() > 0.01


@pytest.mark.parametrize(
    "change",
    [{"litert": "1.0.0"}, {"processor": "aarch64 00000000"}, {"format": 0}, {"source_sha256": "0" * 64}],
)
def test_weights_for_another_litert_or_processor_are_made_again(store: ModelStore, change: dict) -> None:
    path = store.get("float").directory / INDEX
    index = msgspec.json.decode(path.read_bytes(), type=WeightIndex)
    origin = msgspec.structs.replace(index.origin, **change)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(index, origin=origin)))
    said: list[str] = []
    assert ready(store, "float", said.append) and len(said) == 1
    assert msgspec.json.decode(path.read_bytes(), type=WeightIndex) == index


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe", b'{"origin":[]}', b"nonsense"])
def test_a_damaged_index_is_made_again(store: ModelStore, content: bytes) -> None:
    (store.get("float").directory / INDEX).write_bytes(content)
    assert ready(store, "float")
    assert ready_at_once(store, "float")


def test_a_network_that_cannot_be_mapped_is_tried_once(store: ModelStore) -> None:
    said: list[str] = []
    assert ready(store, "int16", said.append) is None and len(said) == 1
    assert ready_at_once(store, "int16") is None
    assert files_of(store, "int16") == {"manifest.json", LABELS, FLATBUFFER, INDEX}
    assert scores(store, "int16", None).shape == (8, 5)


def test_a_small_network_is_not_packed(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_weights, "WORTH_BYTES", 1 << 30)
    assert ready_at_once(store, "int16") is None
    assert INDEX not in files_of(store, "int16")


def test_a_store_that_cannot_be_written_works_without(
    store: ModelStore, caplog: pytest.LogCaptureFixture
) -> None:
    (store.get("float").directory / INDEX).unlink()
    lock = store.root / "models" / ".making"
    lock.unlink()
    lock.mkdir()  # root may write everywhere, but not into this
    with caplog.at_level(logging.WARNING):
        assert ready(store, "float") is None
    assert [each.getMessage() for each in caplog.records] == [
        "float: its weights are copied to memory, because they cannot be mapped: "
        f"{lock}: cannot be written: Is a directory"
    ]


def test_packed_weights_in_a_store_that_cannot_be_written_are_used(store: ModelStore) -> None:
    for path in [*store.root.rglob("*"), store.root]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        weights = ready_at_once(store, "float")
        np.testing.assert_array_equal(scores(store, "float", weights), scores(store, "float", None))
    finally:
        for path in [store.root, *store.root.rglob("*")]:
            path.chmod(0o755)


def test_a_disk_that_fills_costs_one_line_and_leaves_nothing(
    store: ModelStore, caplog: pytest.LogCaptureFixture
) -> None:
    for file in (INDEX, WEIGHTS):
        (store.get("float").directory / file).unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        assert ready(store, "float", lambda line: None) is None
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [each.getMessage() for each in caplog.records] == [
        "float: its weights are copied to memory, because they cannot be mapped: "
        "XNNPACK could not write them; perhaps the disk is full"
    ]
    assert files_of(store, "float") == {"manifest.json", LABELS, FLATBUFFER}
    assert ready(store, "float")


def test_a_disk_without_space_is_left_alone(
    store: ModelStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (store.get("float").directory / INDEX).unlink()
    monkeypatch.setattr(packed_weights, "SPACE", 1_000_000)
    assert ready_at_once(store, "float") is None
    assert "MB are needed" in caplog.text and INDEX not in files_of(store, "float")


@pytest.mark.parametrize("signal", ["SIGILL", "SIGSEGV"])
def test_a_processor_on_which_litert_crashes_is_remembered(
    store: ModelStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    signal: str,
) -> None:
    (store.get("float").directory / INDEX).unlink()
    packer = tmp_path / "packer_of_another_processor.py"
    packer.write_text(f"import os, signal\nos.kill(os.getpid(), signal.{signal})")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(packed_weights, "PACKER", packer.stem)
    assert ready(store, "float", lambda line: None) is None
    assert "LiteRT crashes on this processor" in caplog.text
    caplog.clear()
    assert ready_at_once(store, "float") is None
    assert not caplog.records


def test_two_processes_make_it_once(store: ModelStore) -> None:
    (store.get("float").directory / INDEX).unlink()
    said: list[str] = []
    found: list[Path | None] = []
    starters = [
        threading.Thread(target=lambda: found.append(ready(store, "float", said.append))) for _ in range(3)
    ]
    for each in starters:
        each.start()
    for each in starters:
        each.join()
    assert len(said) == 1 and len(set(found)) == 1
    np.testing.assert_array_equal(scores(store, "float", found[0]), scores(store, "float", None))


def test_what_a_killed_process_left_is_removed(store: ModelStore) -> None:
    folder = store.get("float").directory
    (folder / ".weights-abc").write_bytes(bytes(1000))
    conversion = folder / "litert-int8"
    conversion.mkdir()
    (conversion / ".weights-abc").write_bytes(bytes(1000))
    remove_leftovers(store)
    assert not (folder / ".weights-abc").exists() and list(conversion.iterdir()) == []
    (folder / ".weights-abc").write_bytes(bytes(1000))
    (folder / INDEX).unlink()
    assert ready(store, "float")
    assert not (folder / ".weights-abc").exists()


def test_sessions_opened_and_closed_leave_nothing_behind(store: ModelStore) -> None:
    weights = ready_at_once(store, "float")

    def rss_kb() -> int:
        return int(Path("/proc/self/status").read_text().partition("VmRSS:")[2].split()[0])

    for _ in range(5):
        scores(store, "float", weights)
    before, threads = rss_kb(), len(list(Path("/proc/self/task").iterdir()))
    for _ in range(40):
        scores(store, "float", weights)
    assert rss_kb() - before < 5000
    assert len(list(Path("/proc/self/task").iterdir())) <= threads
