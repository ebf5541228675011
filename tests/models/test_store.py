"""The model store: whole models or none."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from incv3d.models.catalog import load_catalog
from incv3d.models.entry import ModelError
from incv3d.models.files import sha256_of
from incv3d.models.leftovers import remove_leftovers
from incv3d.models.store import ModelStore

ENTRY = load_catalog()["inception-v3"]


def add(store: ModelStore, name: str, content: bytes = b"graph", replace: bool = False) -> None:
    with store.adding(name, ENTRY, replace) as folder:
        (folder / "graph.pb").write_bytes(content)
        (folder / "labels.tsv").write_text("0\tn0\tzero\n")


def leftovers(store: ModelStore) -> list[str]:
    return [path.name for path in (store.root / "models").iterdir() if path.name.startswith(".unfinished")]


def test_a_model_that_was_added_is_there_whole(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    add(store, "mine")
    model = store.get("mine")
    assert (model.name, model.entry, model.size_bytes) == ("mine", ENTRY, 5)
    assert model.network.read_bytes() == b"graph" and model.labels.read_text() == "0\tn0\tzero\n"
    assert model.manifest.sha256 == sha256_of(model.network)
    assert [each.name for each in store.models()] == ["mine"] and not leftovers(store)


def test_an_empty_store_has_no_models_and_is_not_made_by_looking(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "new")
    assert store.models() == [] and not (tmp_path / "new").exists()
    with pytest.raises(
        ModelError, match=r"no model `x` in .*\(there: none\); import it: incv3d model import"
    ):
        store.get("x")


def test_a_model_is_replaced_only_when_asked(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    add(store, "mine", b"old")
    with pytest.raises(ModelError, match="already; to replace it, use --replace"):
        add(store, "mine", b"new")
    assert store.get("mine").network.read_bytes() == b"old"
    add(store, "mine", b"new", replace=True)
    assert store.get("mine").network.read_bytes() == b"new" and not leftovers(store)


def test_a_failure_while_adding_leaves_nothing(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    with pytest.raises(ZeroDivisionError), store.adding("mine", ENTRY) as folder:
        (folder / "graph.pb").write_bytes(b"half")
        raise ZeroDivisionError
    assert store.models() == [] and not leftovers(store)


def kill_while_adding(root: Path) -> None:
    with ModelStore(root).adding("mine", ENTRY, replace=True) as folder:
        (folder / "graph.pb").write_bytes(b"half")
        os.kill(os.getpid(), signal.SIGKILL)


def test_being_killed_while_adding_leaves_the_old_model_and_the_next_attempt_cleans_up(
    tmp_path: Path,
) -> None:
    store = ModelStore(tmp_path)
    add(store, "mine", b"old")
    process = multiprocessing.get_context("spawn").Process(target=kill_while_adding, args=(tmp_path,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert store.get("mine").network.read_bytes() == b"old" and len(leftovers(store)) == 1
    assert [model.name for model in store.models()] == ["mine"]
    add(store, "other")
    assert not leftovers(store)


def add_many(root: Path, content: bytes) -> None:
    for _ in range(20):
        add(ModelStore(root), "mine", content, replace=True)


def test_two_at_once_do_not_harm_each_other(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    contents = (b"a" * 1000, b"b" * 2000)
    adders = [context.Process(target=add_many, args=(tmp_path, content)) for content in contents]
    for adder in adders:
        adder.start()
    for adder in adders:
        adder.join(60)
    assert [adder.exitcode for adder in adders] == [0, 0]
    assert ModelStore(tmp_path).get("mine").network.read_bytes() in contents


def missing_while(path: Path, replace: Callable[[], None]) -> int:
    """How often `path` was missing when another thread looked for it, while `replace` ran 100 times."""
    looking, missing, looks = threading.Event(), [], []

    def look() -> None:
        while not done.is_set():
            looking.set()
            (looks if path.exists() else missing).append(1)

    done = threading.Event()
    thread = threading.Thread(target=look)
    thread.start()
    try:
        looking.wait()
        for _ in range(100):
            replace()
    finally:
        done.set()
        thread.join()
    assert looks
    return len(missing)


def test_a_model_that_is_replaced_is_there_at_all_times(tmp_path: Path) -> None:
    """So a power cut cannot lose it."""
    store = ModelStore(tmp_path)
    add(store, "mine")
    path = tmp_path / "models/mine/manifest.json"
    assert not missing_while(path, lambda: add(store, "mine", replace=True))
    assert not leftovers(store)


def test_a_conversion_that_is_replaced_is_there_at_all_times(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    add(store, "mine")
    model = store.get("mine")

    def replace() -> None:
        with store.scratch_folder("made") as scratch:
            (scratch / "conversion").mkdir()
            (scratch / "conversion/file").write_text("new")
            store.attach(model, scratch / "conversion")

    replace()
    assert not missing_while(model.directory / "conversion/file", replace)
    assert [each.name for each in tmp_path.iterdir()] == ["models"] and not leftovers(store)


def test_a_file_system_without_exchange_replaces_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(one: Path, other: Path) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("incv3d.models.files._exchange", refuse)
    store = ModelStore(tmp_path)
    add(store, "mine", b"old")
    add(store, "mine", b"new", replace=True)
    assert store.get("mine").network.read_bytes() == b"new" and not leftovers(store)


def test_a_graph_that_shrank_is_found_out(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    add(store, "mine", b"12345678")
    store.get("mine").network.write_bytes(b"1234")
    with pytest.raises(ModelError, match="4 bytes instead of 8; import it again"):
        store.get("mine")
    (tmp_path / "models/mine/graph.pb").unlink()
    with pytest.raises(ModelError, match="0 bytes"):
        store.get("mine")


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    add(store, "mine")
    (tmp_path / "models/mine/manifest.json").write_text('{"manifest": 1')
    with pytest.raises(ModelError, match=r"manifest\.json: damaged .*incv3d model remove mine"):
        store.get("mine")
    store.remove("mine")
    assert store.models() == []


def test_foreign_files_in_the_store_are_passed_over(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    add(store, "mine")
    (tmp_path / "models/notes.txt").write_text("x")
    (tmp_path / "models/empty").mkdir()
    (tmp_path / "models/UPPER").mkdir()
    assert [model.name for model in store.models()] == ["mine"]


@pytest.mark.parametrize("name", ["", "A", "../x", "a/b", ".hidden", "x" * 65, "a b", "-x"])
def test_names_that_are_none_are_refused(tmp_path: Path, name: str) -> None:
    store = ModelStore(tmp_path)
    for attempt in (lambda: store.get(name), lambda: add(store, name), lambda: store.remove(name)):
        with pytest.raises(ModelError, match="is not a valid model name"):
            attempt()


def test_removing_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model `x`"):
        ModelStore(tmp_path).remove("x")


def test_a_store_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="cannot be written: Not a directory"):
        add(ModelStore(tmp_path / "file"), "mine")


def test_a_manifest_that_cannot_be_read_harms_no_other_model(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    for name in ("first", "mine", "other"):
        add(store, name)
    (tmp_path / "models/mine/manifest.json").unlink()
    (tmp_path / "models/mine/manifest.json").mkdir()
    (tmp_path / "models/other/manifest.json").write_bytes(b"\xff\xfe")
    assert [model.name for model in store.models()] == ["first"]
    assert list(store.read_errors()) == ["mine", "other"] and store.names() == ["first", "mine", "other"]
    assert store.get("first") and store.find("gone") is None
    with pytest.raises(ModelError, match=r"no model `x` .*\(there: first, mine, other\)"):
        store.get("x")
    for name in ("mine", "other"):
        with pytest.raises(ModelError, match=rf"models/{name}/manifest\.json: "):
            store.find(name)
        add(store, name, b"new", replace=True)
    assert not store.read_errors()


LEFT = (
    "models/.unfinished-abc/graph.pb",
    "models/mine/.prepared-abc/weights.bin",
    "models/mine/.unprepared.json-abc",
    ".custom-abc/graph.pb",
    ".converting/pixels",
    ".checksums.json-abc",
)
"""What killed processes leave."""


def leave(root: Path) -> list[Path]:
    for name in LEFT:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"half")
    return [root / name for name in LEFT]


def test_what_killed_processes_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    add(store, "mine")
    (tmp_path / "checksums.json").write_text("{}")
    remove_leftovers(store)
    kept = sorted(tmp_path.rglob("*"))
    left = leave(tmp_path)
    remove_leftovers(store)
    assert not any(path.exists() for path in left)
    locks = {tmp_path / "models" / name for name in (".lock", ".making", ".converting")}
    assert set(tmp_path.rglob("*")) - locks == set(kept) - locks


def test_what_another_process_works_on_is_not_swept(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    add(store, "mine")
    left = leave(tmp_path)
    with store.exclusively():
        remove_leftovers(store)
        assert [path.exists() for path in left] == [False, True, True, True, False, True]
    (left[4].parent).mkdir()
    with store.adding("other", ENTRY) as folder:
        (folder / "graph.pb").write_bytes(b"graph")
        (folder / "labels.tsv").write_text("0\tn0\tzero\n")
        remove_leftovers(store)
        assert folder.exists() and not any(path.exists() for path in left)
    with store.scratch_folder("converting") as folder:
        remove_leftovers(store)
        assert folder.exists()


def test_a_store_that_is_not_there_is_not_made_by_sweeping(tmp_path: Path) -> None:
    remove_leftovers(ModelStore(tmp_path / "new"))
    assert not (tmp_path / "new").exists()
