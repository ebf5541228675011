"""Taught models in the list of checks that `run`, `check-config` and `doctor` share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from heads import axes, facts_of, head_of
from incv3d.app.prerequisites import Mistake, find_mistakes
from incv3d.config.loading import load_config
from incv3d.models.store import ModelStore
from incv3d.models.taught.store import TaughtStore
from incv3d.tools.doctor import Finding, Host
from incv3d.tools.doctor.installation import Installation
from incv3d.tools.doctor.models import check_models
from taught_models import BASE, add_base
from trees import bare

Look = Callable[[str], list[Mistake]]
CLASSES = ("empty", "full")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory with a base and three models: `mine` is whole."""
    state = tmp_path / "state"
    base = add_base(state)
    store = TaughtStore(state)
    head = head_of(CLASSES, axes(2, 24))
    for name in ("mine", "damaged"):
        store.save(head, facts_of(name, head, base), b"{}")
    store.save(head, facts_of("elsewhere", head, base, base_sha256="0" * 64), b"{}")
    store.save(head, facts_of("orphan", head, base, base="gone"), b"{}")
    (store.get("damaged").folder / "head.npz").write_bytes(b"nothing")
    return state


@pytest.fixture
def look(state: Path, tmp_path: Path) -> Look:
    def find(text: str) -> list[Mistake]:
        path = tmp_path / "incv3d.yaml"
        path.write_text(text)
        loaded = load_config(str(path), {"INCV3D_FETCH_WAIT_S": "0"})
        return find_mistakes(loaded, {"STATE_DIRECTORY": str(state)})

    return find


REGION = "source: {type: v4l2, regions: {a: {box: [0, 0, 1, 1], model: NAME}}}"


@pytest.mark.parametrize(
    "text",
    [
        "model: {name: mine}",
        "{model: {name: mine}, events: {allow: [unknown, full]}}",
        f"{{model: {{name: {BASE}}}, {REGION.replace('NAME', 'mine')}, events: {{allow: [class 1, full]}}}}",
        f"{{{REGION.replace('NAME', 'mine')}, events: {{allow: [unknown]}}}}",
    ],
)
def test_a_whole_taught_model_is_no_mistake(look: Look, text: str) -> None:
    assert look(text) == []


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("model: {name: damaged}", "model.name", "head.npz: damaged"),
        ("model: {name: elsewhere}", "model.name", "elsewhere was taught on another tiny; teach it again"),
        ("model: {name: orphan}", "model.name", "orphan needs its base model: no model `gone` in"),
        ("{model: {name: mine}, events: {allow: [class 1]}}", "events.allow", "mine has no label `class 1`"),
        (REGION.replace("NAME", "nobody"), "source.regions", "`nobody` is neither a taught model nor"),
        (REGION.replace("NAME", "damaged"), "model.name", "head.npz: damaged"),
        (
            f"{{model: {{name: {BASE}}}, {REGION.replace('NAME', 'orphan')}}}",
            "source.regions",
            "taught on gone",
        ),
    ],
)
def test_what_a_person_must_correct_is_one_line_at_its_key(
    look: Look, text: str, key: str, said: str
) -> None:
    (mistake,) = look(text)
    assert mistake.key == key and said in mistake.what and "\n" not in mistake.what


def test_doctor_reports_the_base_and_the_heads(state: Path, tmp_path: Path) -> None:
    def findings(name: str) -> dict[str, Finding]:
        config = load_config(None, {}, {"model.name": name}).config
        machine: Host = bare(tmp_path)
        found = check_models(machine, Installation(config, state, state / "latency.log"), True)
        return {each.name: each for each in found}

    whole = findings("mine")
    assert (whole["model"].status, whole["taught"].status) == ("ok", "ok")
    assert whole["taught"].what == "mine, taught on tiny: empty, full; all files are undamaged"
    damaged = findings("damaged")
    assert (damaged["model"].status, damaged["taught"].status) == ("ok", "problem")
    assert "head.npz: damaged" in damaged["taught"].what


def test_a_model_that_is_replaced_by_another_is_noticed(look: Look, state: Path) -> None:
    manifest = ModelStore(state).get(BASE).directory / "manifest.json"
    other = msgspec.json.decode(manifest.read_bytes()) | {"sha256": "1" * 64}
    manifest.write_bytes(msgspec.json.encode(other))
    (mistake,) = look("model: {name: mine}")
    assert "mine was taught on another tiny" in mistake.what
