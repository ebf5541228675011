"""The model commands on a taught model, as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from heads import axes, facts_of, head_of
from incv3d.models.taught.store import TaughtStore
from processes import run_incv3d
from taught_models import add_base, picture, teach


@pytest.fixture
def state(tmp_path: Path) -> Path:
    base = add_base(tmp_path / "state")
    head = head_of(("empty", "full"), axes(2, 24))
    facts = facts_of("mine", head, base, counts=(12, 9), groups=(5, 4), accuracy=0.96, low=0.9, high=0.99)
    TaughtStore(tmp_path / "state").save(head, facts, b"{}")
    return tmp_path / "state"


def test_it_is_listed_shown_verified_and_removed_before_its_base(state: Path) -> None:
    listed = run_incv3d(state, "model", "list").stdout
    (line,) = (line for line in listed.splitlines() if line.startswith("mine "))
    assert "taught on tiny" in line
    shown = run_incv3d(state, "model", "show", "mine").stdout
    assert "empty: 12 pictures in 5 groups, full: 9 pictures in 4 groups" in shown
    assert "96.0 % (90 to 99) on pictures that were left out" in shown
    assert json.loads(run_incv3d(state, "model", "show", "mine", "--json").stdout)["taught"]["base"] == "tiny"
    labels = run_incv3d(state, "model", "show", "mine", "--labels").stdout
    assert labels == "0\t\tempty\n1\t\tfull\n2\t\tunknown\n"
    assert run_incv3d(state, "model", "verify").stdout == "tiny: ok\nmine: ok\n"
    refused = run_incv3d(state, "model", "remove", "tiny")
    assert (
        refused.returncode == 1
        and "tiny is the base of mine; first: incv3d model remove mine" in refused.stderr
    )
    assert run_incv3d(state, "model", "remove", "mine").stdout == "removed mine\n"
    assert run_incv3d(state, "model", "remove", "tiny").returncode == 0


def test_damage_and_a_wrong_use_are_one_line(state: Path) -> None:
    exported = run_incv3d(state, "model", "export", "mine", str(state / "x.tar"))
    assert exported.returncode == 2 and "a taught model; name its base model instead: tiny" in exported.stderr
    (TaughtStore(state).get("mine").folder / "head.npz").write_bytes(b"x")
    verified = run_incv3d(state, "model", "verify", "mine")
    assert verified.returncode == 1 and "head.npz: damaged" in verified.stderr
    started = run_incv3d(state, "run", "--model", "mine", INCV3D_BIND="ipc:///tmp/never")
    assert started.returncode == 2 and "head.npz: damaged" in started.stderr
    assert "Traceback" not in started.stderr


def test_classify_answers_with_the_taught_labels(state: Path, tmp_path: Path) -> None:
    teach(state, "yours", ["empty", "full"])
    (tmp_path / "full.jpg").write_bytes(picture(1))
    done = run_incv3d(state, "classify", "--model", "yours", str(tmp_path / "full.jpg"), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["predictions"][0]["label"] == "full"


def test_of_many_classes_the_list_names_the_first(tmp_path: Path) -> None:
    base = add_base(tmp_path)
    head = head_of(tuple(f"class{number}" for number in range(20)), axes(20, 24))
    TaughtStore(tmp_path).save(head, facts_of("many", head, base, counts=(3,) * 20), b"{}")
    assert "class7 3, and 12 more  " in run_incv3d(tmp_path, "teach", "list").stdout
