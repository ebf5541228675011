"""Changing one key of a configuration file: that key changes, and not another byte."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from incv3d.config.edit import edited, set_key
from incv3d.config.loading import ConfigError, load_config

COMMENTED = Path(__file__).resolve().parents[2] / "config" / "incv3d.yaml"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("model:\n  name: auto  # a comment\n", "model:\n  name: mine  # a comment\n"),
        ("model:\n  name: a      # far\n", "model:\n  name: mine   # far\n"),
        ("model:\n  name: inception-v3 # near\n", "model:\n  name: mine         # near\n"),
        ("model: {name: auto, top_k: 3}\n", "model: {name: mine, top_k: 3}\n"),
        ("model: {top_k: 3}\n", "model: {name: mine, top_k: 3}\n"),
        ("model: {}\n", "model: {name: mine}\n"),
        ("model:\n  name:\n  top_k: 3\n", "model:\n  name: mine\n  top_k: 3\n"),
        ("model:\n    # first\n    top_k: 3\n", "model:\n    # first\n    name: mine\n    top_k: 3\n"),
        (
            "model:  # all the defaults\n  # name: x\n",
            "model:  # all the defaults\n  name: mine\n  # name: x\n",
        ),
        ("model:", "model:\n  name: mine"),
        ("", "model:\n  name: mine\n"),
        (
            "# mine\nhttp: {bind: ''}",
            "# mine\nhttp: {bind: ''}\nmodel:\n  name: mine\n",
        ),
        ("model: {name: 'quoted # one'}\n", "model: {name: mine}\n"),
        ("mqtt: {name: pi}\nmodel:\n  name: auto\n", "mqtt: {name: pi}\nmodel:\n  name: mine\n"),
        ("model:\r\n  name: auto\r\n", "model:\r\n  name: mine\r\n"),
    ],
)
def test_one_key_changes_and_the_rest_stays(tmp_path: Path, before: str, after: str) -> None:
    path = tmp_path / "incv3d.yaml"
    path.write_bytes(before.encode())
    assert set_key(path, "model.name", "mine")
    assert path.read_bytes().decode() == after
    assert not set_key(path, "model.name", "mine"), "it has that value already"
    assert load_config(str(path), {}).config.model.name == "mine"


def test_in_the_commented_file_only_that_line_changes(tmp_path: Path) -> None:
    path = Path(shutil.copy(COMMENTED, tmp_path))
    set_key(path, "model.name", "mine")
    before, after = COMMENTED.read_text().splitlines(), path.read_text().splitlines()
    changed = [line for old, line in zip(before, after, strict=True) if old != line]
    assert [line.split("#")[0].rstrip() for line in changed] == ["  name: mine"]
    assert changed[0].index("#") == before[after.index(changed[0])].index("#"), "the comment keeps its column"


@pytest.mark.parametrize("value", ["on", "1e5", "null", "a: b", "it's", "# no", "2026-01-31", "a, b", ""])
def test_a_value_that_yaml_would_read_as_something_else_is_quoted(value: str) -> None:
    for text in ("", "model:\n  name: x\n", "model: {name: x}\n"):
        assert yaml.safe_load(edited(text, "model", "name", value)) == {"model": {"name": value}}


@pytest.mark.parametrize(
    "text",
    [
        "x: &n {name: a}\nmodel: *n\n",  # would change x, too
        "model: 3\n",
    ],
)
def test_what_cannot_be_edited_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "incv3d.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="set `name: mine` under `model:` there by hand"):
        set_key(path, "model.name", "mine")
    assert path.read_text() == text


def test_a_link_stays_a_link_and_the_file_keeps_its_mode(tmp_path: Path) -> None:
    there = tmp_path / "there.yaml"
    there.write_text("model: {name: auto}\n")
    there.chmod(0o640)
    link = tmp_path / "incv3d.yaml"
    link.symlink_to(there)
    set_key(link, "model.name", "mine")
    assert link.is_symlink() and there.read_text() == "model: {name: mine}\n"
    assert there.stat().st_mode & 0o777 == 0o640
    assert {each.name for each in tmp_path.iterdir()} == {"incv3d.yaml", "there.yaml"}, (
        "nothing is left beside it"
    )


def test_the_installer_sets_several_keys_at_once(tmp_path: Path) -> None:
    path = Path(shutil.copy(COMMENTED, tmp_path))
    words = [str(path), "model.store=/var/lib/incv3d", "latency.log=/var/log/incv3d/latency.log"]
    subprocess.run([sys.executable, "-m", "incv3d.config.edit", *words], check=True)
    config = load_config(str(path), {}).config
    assert (config.model.store, config.latency.log) == ("/var/lib/incv3d", "/var/log/incv3d/latency.log")
    assert config.model.name == "auto"


def test_what_the_installer_cannot_edit_ends_it_with_one_line(tmp_path: Path) -> None:
    path = tmp_path / "incv3d.yaml"
    path.write_text("model: [\n")
    words = [sys.executable, "-m", "incv3d.config.edit", str(path), "model.name=mine"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.startswith(f"incv3d: {path}:2: not valid YAML"), done.stderr
    assert done.stderr.count("\n") == 1
