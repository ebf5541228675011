"""Taught models on disk: the old head or the new one, never a part."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import msgspec
import pytest

from heads import axes, facts_of, files_in, head_of
from incv3d.models.catalog import load_catalog
from incv3d.models.entry import ModelError
from incv3d.models.store import ModelStore
from incv3d.models.taught.head import Head
from incv3d.models.taught.model import GoldenPicture, TaughtModel
from incv3d.models.taught.store import TaughtStore

ENTRY = load_catalog()["inception-v3"]


def head(*classes: str) -> Head:
    return head_of(classes or ("empty", "full"), axes(len(classes) or 2))


def save(root: Path, name: str = "mine", *classes: str, of: str = "base") -> TaughtModel:
    made = head(*classes)
    facts = msgspec.structs.replace(facts_of(name, made), base=of)
    return TaughtStore(root).save(made, facts, b'{"classes": %d}' % len(classes))


def add_base(root: Path, name: str) -> None:
    with ModelStore(root).adding(name, ENTRY) as folder:
        (folder / "graph.pb").write_bytes(b"graph")
        (folder / "labels.tsv").write_text("0\tn0\tzero\n")


def test_a_taught_model_is_there_as_it_was_saved(tmp_path: Path) -> None:
    saved = save(tmp_path, "mine", "a", "b")
    found = TaughtStore(tmp_path).get("mine")
    assert found == saved and found.facts.classes == ("a", "b") and found.before is None
    assert found.head().classes == ("a", "b") and found.report() == b'{"classes": 2}'
    assert found.golden() is None and not found.damages()
    assert TaughtStore(tmp_path).names() == ["mine"]


def test_without_any_there_are_none(tmp_path: Path) -> None:
    store = TaughtStore(tmp_path)
    assert store.names() == [] and store.models() == [] and store.find("mine") is None
    with pytest.raises(ModelError, match=r"no taught model `mine` .* incv3d teach FOLDER --name mine"):
        store.get("mine")
    assert files_in(tmp_path) == []


def test_the_head_before_is_kept_and_reverting_changes_the_two(tmp_path: Path) -> None:
    for last in "bcd":
        save(tmp_path, "mine", "a", last)
    store = TaughtStore(tmp_path)
    found = store.get("mine")
    assert found.before and (found.facts.classes[1], found.before.classes[1]) == ("d", "c")
    before = found.head_before()
    assert before and before.classes == ("a", "c")
    assert store.revert("mine").head().classes == ("a", "c")
    assert store.revert("mine").head().classes == ("a", "d") and store.get("mine").head().classes == (
        "a",
        "d",
    )
    assert len(list((tmp_path / "taught/mine").glob("head-*"))) == 2


def test_the_first_head_has_none_to_return_to(tmp_path: Path) -> None:
    save(tmp_path)
    with pytest.raises(ModelError, match="mine has only one head"):
        TaughtStore(tmp_path).revert("mine")
    with pytest.raises(ModelError, match="no taught model `other`"):
        TaughtStore(tmp_path).revert("other")


def test_a_golden_picture_is_kept_with_its_head(tmp_path: Path) -> None:
    from hashlib import sha256

    made = head()
    golden = GoldenPicture(sha256=sha256(b"picture").hexdigest(), label="full")
    found = TaughtStore(tmp_path).save(made, facts_of("mine", made, golden=golden), b"{}", b"picture")
    assert found.golden() == b"picture" and not found.damages()
    (found.folder / "golden").write_bytes(b"another")
    assert "golden: damaged: its SHA-256 differs; teach it again" in found.damages()[0]


def kill_while_saving(root: Path) -> None:
    made = head("c", "d")

    class Killing(Head):
        def to_bytes(self) -> bytes:
            os.kill(os.getpid(), signal.SIGKILL)
            return b""

    wrong = Killing(made.classes, made.center, made.weights, made.bias, made.gallery, 0.5, 0.1)
    TaughtStore(root).save(wrong, facts_of("mine", made), b"{}")


def test_being_killed_while_saving_leaves_the_old_head_and_the_next_attempt_cleans_up(tmp_path: Path) -> None:
    save(tmp_path, "mine", "a", "b")
    process = multiprocessing.get_context("spawn").Process(target=kill_while_saving, args=(tmp_path,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert TaughtStore(tmp_path).get("mine").head().classes == ("a", "b")
    assert len(list((tmp_path / "taught/mine").glob("head-*"))) == 2
    save(tmp_path, "mine", "e", "f")
    save(tmp_path, "mine", "g", "h")
    assert len(list((tmp_path / "taught/mine").glob("head-*"))) == 2


def save_many(root: Path, classes: tuple[str, str]) -> None:
    for _ in range(20):
        save(root, "mine", *classes)


def test_two_at_once_do_not_harm_each_other(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    savers = [context.Process(target=save_many, args=(tmp_path, pair)) for pair in (("a", "b"), ("c", "d"))]
    for saver in savers:
        saver.start()
    for saver in savers:
        saver.join(60)
    assert [saver.exitcode for saver in savers] == [0, 0]
    found = TaughtStore(tmp_path).get("mine")
    assert found.head().classes == found.facts.classes and not found.damages() and found.before


def test_one_process_at_a_time_teaches_a_name(tmp_path: Path) -> None:
    store = TaughtStore(tmp_path)
    with store.teaching("mine") as folder:
        assert folder == store.folder("mine")
        with pytest.raises(ModelError, match="another process is already doing this"), store.teaching("mine"):
            pass
        with store.teaching("other"):
            save(tmp_path)
    assert store.names() == ["mine"]


def test_a_store_that_cannot_be_written_is_one_clear_line_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "taught").write_text("in the way")
    with pytest.raises(ModelError, match="taught: cannot be written"):
        save(tmp_path)
    with pytest.raises(ModelError, match="taught: cannot be read"):
        TaughtStore(tmp_path).names()


def test_a_failure_while_saving_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device", str(self))

    with monkeypatch.context() as patch, pytest.raises(ModelError, match="No space left on device"):
        patch.setattr(Path, "write_bytes", no_space)
        save(tmp_path)
    assert not (tmp_path / "taught/mine").exists()
    save(tmp_path, "mine", "a", "b")
    with monkeypatch.context() as patch, pytest.raises(ModelError, match="No space left on device"):
        patch.setattr(Path, "write_bytes", no_space)
        save(tmp_path, "mine", "c", "d")
    assert TaughtStore(tmp_path).get("mine").head().classes == ("a", "b")
    assert len(list((tmp_path / "taught/mine").glob("head-*"))) == 1


def test_damaged_files_are_named_with_what_to_do(tmp_path: Path) -> None:
    save(tmp_path)
    found = save(tmp_path)
    (found.folder / "head.npz").write_bytes(b"x")
    with pytest.raises(ModelError, match=r"head\.npz: damaged .*teach it again: .*incv3d teach revert mine"):
        found.head()
    assert "damaged" in found.damages()[0]
    (found.directory / "facts.json").write_text('{"format": 1')
    with pytest.raises(ModelError, match=r"facts\.json: damaged .*; teach it again"):
        TaughtStore(tmp_path).get("mine")
    assert TaughtStore(tmp_path).names() == ["mine"] and not TaughtStore(tmp_path).models()
    assert list(TaughtStore(tmp_path).read_errors()) == ["mine"]
    save(tmp_path)
    assert not TaughtStore(tmp_path).get("mine").damages()


def test_facts_of_a_newer_version_are_not_misread(tmp_path: Path) -> None:
    found = save(tmp_path)
    newer = msgspec.structs.replace(found.record, format=2)
    (found.directory / "facts.json").write_bytes(msgspec.json.encode(newer))
    with pytest.raises(ModelError, match="format 2 is not known; a newer incv3d wrote it"):
        TaughtStore(tmp_path).get("mine")


def test_classes_that_are_not_those_of_the_facts_are_damage(tmp_path: Path) -> None:
    found = save(tmp_path, "mine", "a", "b")
    (found.folder / "head.npz").write_bytes(head("c", "d").to_bytes())
    with pytest.raises(ModelError, match=r"its classes are not those of facts\.json"):
        found.head()


def test_another_base_is_one_clear_line(tmp_path: Path) -> None:
    found = save(tmp_path)
    found.check_base("0" * 64)
    with pytest.raises(ModelError, match="mine was taught on another base; teach it again: incv3d teach"):
        found.check_base("1" * 64)


def test_a_model_and_a_taught_model_cannot_have_the_same_name(tmp_path: Path) -> None:
    add_base(tmp_path, "theirs")
    for name in ("theirs", "inception-v3", "auto", "custom"):
        with pytest.raises(ModelError, match=f"`{name}` is the name of a model"):
            save(tmp_path, name)
        with pytest.raises(ModelError, match="is the name of a model"), TaughtStore(tmp_path).teaching(name):
            pass
    save(tmp_path)
    with pytest.raises(ModelError, match="`mine` is the name of a taught model"):
        add_base(tmp_path, "mine")


def test_a_base_that_a_taught_model_needs_cannot_be_removed(tmp_path: Path) -> None:
    add_base(tmp_path, "theirs")
    save(tmp_path, of="theirs")
    with pytest.raises(ModelError, match="theirs is the base of mine; first: incv3d model remove mine"):
        ModelStore(tmp_path).remove("theirs")
    TaughtStore(tmp_path).remove("mine")
    ModelStore(tmp_path).remove("theirs")
    assert not (tmp_path / "taught/mine").exists() and ModelStore(tmp_path).names() == []
    with pytest.raises(ModelError, match="no taught model `mine`"):
        TaughtStore(tmp_path).remove("mine")


@pytest.mark.parametrize("name", ["", "A", "../x", "a/b", ".hidden"])
def test_names_that_are_none_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="is not a valid model name"):
        TaughtStore(tmp_path).find(name)
    with pytest.raises(ModelError, match="is not a valid model name"):
        save(tmp_path, name)
