"""The model in force: whole or damaged, there or not, and whether it fits; on a real store."""

from __future__ import annotations

import json
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import pytest

from incv3d.config.schema import Config
from incv3d.engines import engine_of
from incv3d.engines.prepared_model import preparer_id, processor_id
from incv3d.models.catalog import load_catalog
from incv3d.models.store import ModelStore
from incv3d.tools.doctor import Finding, Host
from incv3d.tools.doctor.installation import Installation
from incv3d.tools.doctor.models import check_models, name_in_force
from trees import bare, only, statuses, write

LITE = "efficientnet-lite0"


@pytest.fixture
def store(state: Path, tmp_path: Path) -> Path:
    """A store of one's own with the embedded model in it."""
    return Path(shutil.copytree(state, tmp_path / "store"))


def configured(**sections: Any) -> Config:
    return msgspec.convert(sections, Config)


def look(machine: Host, store: Path, config: Config | None = None, running: bool = False) -> list[Finding]:
    return check_models(machine, Installation(config or Config(), store, store / "latency.log"), running)


def with_memory(machine: Host, available_mb: int) -> Host:
    write(machine.proc / "meminfo", f"MemAvailable: {available_mb * 1024} kB\nSwapFree: 0 kB\n")
    return machine


def test_an_undamaged_model_that_fits_is_ok(store: Path, tmp_path: Path) -> None:
    findings = look(with_memory(bare(tmp_path), 700), store)
    assert statuses(findings) == {"model": "ok", "model memory": "ok"}
    assert only(findings, "model").what == f"{LITE}, 18.5 MB: all files are undamaged"
    assert only(findings, "model memory").what == f"{LITE} on tensorflow takes about 420 MB, 700 MB available"


@pytest.mark.parametrize("name", ["graph.pb", "labels.tsv", "prepared/weights.bin"])
def test_one_changed_byte_is_a_problem_that_names_the_file(store: Path, tmp_path: Path, name: str) -> None:
    path = store / "models" / LITE / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    finding = only(look(bare(tmp_path), store), "model")
    assert finding.status == "problem" and f"{path}: damaged" in finding.what and finding.fix


def test_a_truncated_model_or_one_without_its_image_is_a_problem(store: Path, tmp_path: Path) -> None:
    (store / "models" / LITE / "coffee.jpg").unlink()
    assert "coffee.jpg: is missing" in only(look(bare(tmp_path), store), "model").what
    graph = store / "models" / LITE / "graph.pb"
    graph.write_bytes(graph.read_bytes()[:1000])
    assert "1000 bytes instead of" in only(look(bare(tmp_path), store), "model").what


def test_a_model_that_cannot_be_prepared_needs_the_memory_of_the_plain_session(store, tmp_path) -> None:
    folder = store / "models" / LITE
    shutil.rmtree(folder / "prepared")
    refusal = {
        "source_sha256": json.loads((folder / "manifest.json").read_text())["sha256"],
        "preparer": preparer_id(version("tensorflow")),
        "processor": processor_id(),
        "reason": "it has control flow",
    }
    (folder / "unprepared.json").write_text(json.dumps(refusal))
    finding = only(look(with_memory(bare(tmp_path), 700), store), "model memory")
    assert (
        finding.status == "problem" and "takes about 845 MB unprepared (it has control flow)" in finding.what
    )


def test_too_little_memory_is_a_problem_unless_a_daemon_has_it_already(store: Path, tmp_path: Path) -> None:
    machine = with_memory(bare(tmp_path), 300)
    finding = only(look(machine, store), "model memory")
    assert finding.status == "problem" and "--to int8" in finding.fix
    assert only(look(machine, store, running=True), "model memory").status == "ok"


def test_a_model_that_is_not_prepared_needs_more_memory_once(store: Path, tmp_path: Path) -> None:
    shutil.rmtree(store / "models" / LITE / "prepared")
    finding = only(look(with_memory(bare(tmp_path), 700), store), "model memory")
    assert finding.status == "warning" and "incv3d model export" in finding.fix
    assert only(look(with_memory(bare(tmp_path), 900), store), "model memory").status == "note"


def test_a_configured_model_that_is_missing_is_a_problem(store: Path, tmp_path: Path) -> None:
    offline = configured(model={"name": "inception-v3", "fetch_wait_s": 0})
    finding = only(look(bare(tmp_path), store, offline), "model")
    assert finding.status == "problem" and "incv3d model fetch inception-v3" in finding.fix
    assert f"also in the store: {LITE}" in finding.what


def test_a_named_model_that_a_start_fetches_is_a_note(tmp_path: Path) -> None:
    finding = only(look(bare(tmp_path), tmp_path, configured(model={"name": "inception-v3"})), "model")
    assert finding.status == "note" and finding.what.startswith("the first start fetches inception-v3")
    for others in ({"name": "mine"}, {"name": "inception-v3", "fetch_wait_s": 0}):
        assert only(look(bare(tmp_path), tmp_path, configured(model=others)), "model").status == "problem"


def test_an_empty_store_is_a_note_and_with_little_memory_a_warning(tmp_path: Path) -> None:
    finding = only(look(with_memory(bare(tmp_path), 900), tmp_path), "model")
    assert finding.status == "note" and "fetches inception-v3" in finding.what
    offline = configured(model={"fetch_wait_s": 0})
    assert only(look(bare(tmp_path), tmp_path, offline), "model").what == f"{LITE} is built on first use"
    assert only(look(with_memory(bare(tmp_path), 700), tmp_path), "model").status == "warning"


def test_your_own_network_must_exist(tmp_path: Path) -> None:
    config = configured(custom={"file": str(tmp_path / "mine.tflite")})
    assert only(look(bare(tmp_path), tmp_path, config), "model").status == "problem"
    write(tmp_path / "mine.tflite", "network")
    assert only(look(bare(tmp_path), tmp_path, config), "model").status == "note"


def test_the_name_is_that_of_the_model_that_a_start_would_use(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    custom = {"file": "/srv/mine.tflite"}
    assert name_in_force(Config(), store) == LITE
    assert name_in_force(configured(custom=custom), store) == "custom"
    assert name_in_force(configured(custom=custom, model={"name": "mine"}), store) == "mine"
    with store.adding("inception-v3", load_catalog()["inception-v3"]) as folder:
        write(folder / "graph.pb", "graph")
        write(folder / "labels.tsv", "0\tn0\tzero\n")
    assert name_in_force(Config(), store) == "inception-v3"


def test_what_a_daemon_takes_is_at_least_what_was_measured() -> None:
    mb = 1_000_000
    measured = [("litert", 9.1, 74), ("litert", 24, 116), ("litert", 95.5, 241)]
    measured += [("tensorflow", 18.5, 364), ("tensorflow", 95.7, 365)]
    for engine, megabytes, peak_mb in measured:
        assert peak_mb <= engine_of(engine).needed_mb(megabytes * mb / 2**20) <= peak_mb * 1.35
