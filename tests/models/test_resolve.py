"""The model that the configuration names is that model or an error; `auto` says what it took."""

from __future__ import annotations

from pathlib import Path

import pytest

from incv3d.models.catalog import load_catalog
from incv3d.models.entry import ModelError
from incv3d.models.prepare import check_memory
from incv3d.models.resolve import BUILDER, BUILDER_VERSION, EMBEDDED, resolve
from incv3d.models.store import ModelStore


def add(store: ModelStore, name: str) -> None:
    with store.adding(name, load_catalog()["inception-v3"]) as folder:
        (folder / "graph.pb").write_bytes(b"graph")
        (folder / "labels.tsv").write_text("0\tn0\tzero\n")


def silent(line: str) -> None:
    raise AssertionError(f"nothing should take a while, but: {line}")


def unwanted(name: str) -> None:
    raise AssertionError(f"{name} should not be fetched")


def test_a_named_model_is_that_model_or_an_error(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    add(store, "mine")
    assert resolve("mine", store, silent, unwanted).model.name == "mine"
    with pytest.raises(ModelError, match=r"no model `other` .*\(there: mine\)"):
        resolve("other", store, silent, unwanted)
    with pytest.raises(ModelError, match=r"not in .* yet; fetch it: incv3d model fetch inception-v3"):
        resolve("inception-v3", store, silent, unwanted)


def test_auto_takes_inception_when_it_is_there_and_says_so(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    add(store, "inception-v3")
    resolution = resolve("auto", store, silent, unwanted)
    assert resolution.model.name == "inception-v3" and "because it is in the store" in resolution.why


def test_auto_takes_the_embedded_model_otherwise_and_builds_it_only_once(state: Path) -> None:
    resolution = resolve("auto", ModelStore(state), silent)
    assert resolution.model.name == "efficientnet-lite0"
    assert "inception-v3 is not in the store" in resolution.why
    assert (resolution.model.directory / "coffee.jpg").is_file()


def test_a_damaged_embedded_model_is_built_again(tmp_path: Path) -> None:
    class BuildBegins(Exception):
        pass

    def build(line: str) -> None:
        raise BuildBegins(line)

    store = ModelStore(tmp_path)
    with store.adding(EMBEDDED, load_catalog()[EMBEDDED], made_by=f"{BUILDER} {BUILDER_VERSION}") as folder:
        (folder / "graph.pb").write_bytes(b"graph")
        (folder / "labels.tsv").write_text("0\tn0\tzero\n")
    assert resolve(EMBEDDED, store, silent).model.name == EMBEDDED
    store.get(EMBEDDED).network.write_bytes(b"gra")
    with pytest.raises(BuildBegins, match=r"^building "):
        resolve(EMBEDDED, store, build)


def test_auto_takes_inception_when_it_can_be_fetched(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    resolution = resolve("auto", store, silent, lambda name: add(store, name))
    assert resolution.model.name == "inception-v3" and "because it was fetched" in resolution.why


def test_auto_does_without_when_it_cannot_be_fetched_and_says_why(state: Path) -> None:
    def refused(name: str) -> None:
        raise ModelError("no network")

    resolution = resolve("auto", ModelStore(state), silent, refused)
    assert resolution.model.name == "efficientnet-lite0"
    assert resolution.why.endswith("because inception-v3 could not be fetched: no network")


def test_a_build_that_fails_says_why_and_leaves_nothing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("incv3d.models.resolve.BUILDER", "incv3d.no_such_module")
    with pytest.raises(ModelError, match=r"efficientnet-lite0 could not be built: .*no_such_module"):
        resolve("efficientnet-lite0", ModelStore(tmp_path), lambda line: None)
    assert ModelStore(tmp_path).models() == []


def test_a_machine_without_the_memory_to_prepare_a_large_model_is_not_made_to_try() -> None:
    for enough in (None, 800.0, 4000.0):
        check_memory(enough)
    with pytest.raises(ModelError, match=r"takes 800 MB, but only 300 MB are free; .*incv3d model export"):
        check_memory(300.0)
