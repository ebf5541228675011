"""A list of sources in the configuration."""

from __future__ import annotations

from pathlib import Path

import pytest

from incv3d.config.loading import ConfigError, load_config
from incv3d.config.schema import Config

TWO = """
sources:
  - {name: door, path: /dev/video0}
  - name: gate
    path: films/gate.mp4
    model: mine
    regions: {left: [0, 0, 0.5, 1], right: {box: [0.5, 0, 0.5, 1], model: other}}
"""


def loaded(tmp_path: Path, text: str, **overrides: object) -> Config:
    (tmp_path / "incv3d.yaml").write_text(text)
    return load_config(str(tmp_path / "incv3d.yaml"), {}, overrides).config


def test_each_source_of_a_list_is_read_like_a_single_one(tmp_path: Path) -> None:
    config = loaded(tmp_path, TWO)
    assert list(config.all_sources) == ["sources[0]", "sources[1]"]
    door, gate = config.all_sources.values()
    assert (door.name, door.type, str(door.path)) == ("door", "v4l2", "/dev/video0")
    assert (gate.name, gate.type, str(gate.path)) == ("gate", "video", f"{tmp_path}/films/gate.mp4")
    assert gate.result_names == ["gate.left", "gate.right"]
    assert gate.models == {"gate": "mine", "gate.left": "mine", "gate.right": "other"}


def test_a_single_source_is_a_list_of_one_and_none_is_an_empty_list(tmp_path: Path) -> None:
    single = loaded(tmp_path, "source: {path: /dev/video0}")
    assert single.all_sources == {"source": single.source}
    assert Config().all_sources == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "source: {path: /dev/video0}\nsources: [{name: a, path: x.mp4}]",
            "sources: excludes `source`; move",
        ),
        ("sources:\n- {path: x.mp4}\n- {path: y.mp4}", "3: sources[1].name: `camera` is also the name of"),
        ("sources:\n- {name: a}", "2: sources[0].path: is missing"),
        ("sources:\n- {name: http, path: x.mp4}", "2: sources[0].name: `http` is reserved"),
        ("sources:\n- name: a\n  path: x.mp4\n  fps: fast", "4: sources[0].fps: must be a number"),
        ("sources:\n- {name: a, pth: x.mp4}", "2: sources[0].pth: unknown key; did you mean `path`?"),
        (
            "sources:\n- name: a\n  path: x.mp4\n  regions: {b: [0, 0, 2, 1]}",
            "4: sources[0].regions.b: 2 must",
        ),
        (
            "sources:\n- name: a\n  path: x.mp4\n  events:\n    threshold: high",
            "5: sources[0].events.threshold: must be a number",
        ),
        (
            "sources:\n- name: a\n  path: x.mp4\n  events:\n    allw: [x]",
            "5: sources[0].events.allw: unknown key; did you mean `allow`?",
        ),
        (
            "source:\n  path: x.mp4\n  events:\n    labels: {fox: 2}",
            "4: source.events.labels: `fox`: a score must be more than 0",
        ),
        (
            "source: {path: x.mp4, events: [fox]}",
            "source.events: must be `key: value` lines or null, not a list",
        ),
        (
            "source: {path: x.mp4, events: {allow: [fox], zmq: true}}",
            "source.events.zmq: concerns frames that",
        ),
        (
            "sources:\n- name: a\n  path: x.mp4\n  active: daylight",
            "4: sources[0].active: `daylight` needs the place of the camera; set daemon.place",
        ),
        (
            "source:\n  path: x.mp4\n  active: 6-20",
            "3: source.active: `6-20` must be daylight, night, or hours",
        ),
        ("source:\n  path: x.mp4\n  active: 24:00-06:00", "3: source.active: `24:00-06:00` must be daylight"),
        ("source:\n  path: x.mp4\n  active: 06:00-06:00", "begins when it ends; leave it empty for always"),
        ("daemon: {place: [91, 0]}", "1: daemon.place: must be latitude (-90 to 90) and longitude"),
        ("sources: {name: a, path: x.mp4}", "sources: must be a list of sources, such as"),
        ("sources: [door, gate]", "sources[0]: must be the keys of a source, such as"),
        ("cameras: [{name: a, path: x.mp4}]", "cameras: unknown key; did you mean `sources`?"),
    ],
)
def test_a_mistake_in_the_list_is_named_by_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, text)
    assert said in str(error.value)


def test_a_source_on_the_command_line_replaces_the_list(tmp_path: Path) -> None:
    config = loaded(tmp_path, TWO, **{"source.type": "auto", "source.path": "/dev/video9"})
    assert [str(each.path) for each in config.all_sources.values()] == ["/dev/video9"]
