"""What is wrong with a value is said in plain words, whatever the key and the value."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from incv3d.config.loading import ConfigError, as_builtins, load_config
from incv3d.config.messages import SECTIONS, key_types
from incv3d.config.schema import Config

KEYS = [f"{section}.{key}" for section in SECTIONS for key in key_types(section)]
VALUES = [
    "nonsense or not",
    "",
    "yes",
    "on",
    "true",
    "null",
    "-7",
    "7",
    "1e99",
    "99999999999999999999999",
    "3.5",
    "'3.5'",
    "'0,5'",
    ".nan",
    "2026-01-31",
    "!!binary aGFsbG8=",
    "[]",
    "[a, b, c]",
    "[1, [2], x]",
    "[null]",
    "{}",
    "{x: y}",
    "{x: {y: 1}}",
    "{x: [1, a]}",
    "{x: null}",
    "rtsp://admin:geheim@camera/x",
    "'rtsp://admin:geh#eim@camera/x'",
    "{'rtsp://admin:geheim@camera/x': 1}",
]
JARGON = re.compile(
    r"regex|`(int|str|float|bool|array|object|null|bytes|datetime)( \||`)|\^|\\|None|True|False|<class|Struct"
    r"|msgspec|\$\.|enum|got `|Expected|Invalid|out of range|<|>|\{|geheim|eim@|'"
)


def complaint(folder: Path, text: str) -> str | None:
    path = folder / "incv3d.yaml"
    path.write_text(text)
    try:
        assert isinstance(load_config(str(path), {}).config, Config)
    except ConfigError as error:
        assert str(error).startswith(f"{path}:1: "), str(error)
        return str(error).removeprefix(f"{path}:1: ")
    return None


@pytest.mark.parametrize("key", KEYS)
def test_a_wrong_value_of_any_key_is_explained_in_plain_words(tmp_path: Path, key: str) -> None:
    section, name = key.split(".")
    complaints = [complaint(tmp_path, f"{section}: {{{name}: {value}}}\n") for value in VALUES]
    assert any(complaints)
    for said in filter(None, complaints):
        assert not JARGON.search(said), said
        assert said.split(":")[0].startswith(f"{section}."), said
        assert len(said) < 500 and said.isprintable(), said


ADVICE = """
source: /srv/pictures
    source: must be `key: value` lines, not `/srv/pictures`; did you mean `source: {path: /srv/pictures}`?
mqtt: 10.0.0.5
    did you mean `mqtt: {host: 10.0.0.5}`?
mqtt: {broker: 10.0.0.5}
    mqtt.broker: unknown key; did you mean `host`?
mqtt: {password: x}
    mqtt.password: unknown key; did you mean `password_file`?
model: {file: x.tflite}
    model.file: unknown key; did you mean `custom.file`?
camera: {path: x}
    camera: unknown key; did you mean `source`?
http: {port: 8080}
    http.port: unknown key; did you mean `bind`?
http: {bind: 8080}
    http.bind: must be an address, such as 127.0.0.1:8080, not `8080`
source: {path:x}
    source.path:x: unknown key; write a space after the colon: `path: …`
source: {regions: {a: 1,2}}
    a key must be a plain word, not `2`; write a list in brackets: [1, 2]
source: {path: @x}
    put a value that begins with @, ` or % in quotes
source: {path: *.jpg}
    put a value that begins with * or & in quotes
source: {path: [x}
    a bracket is not closed
model: {name: mine.tflite}
    write it under `custom:` as `file: mine.tflite`
custom: {file: 'https://me:geheim@10.0.0.5/x.pb'}
    must be the path of a file or a folder of this machine, not `https://me:***@10.0.0.5/x.pb`
session: {threads: '4'}
    session.threads: must be a whole number from 0 to 256, not `4`: write 4, without quotes
model: {top_k: 1e3}
    not `1e3`; YAML reads this as text; write the number without an exponent
events: {allow: [x], threshold: '0,5'}
    or a list of numbers, such as [0.5, 1], not `0,5`: write 0.5, with a decimal point
source: {name: no}
    not `false`; YAML reads yes, no, on and off as true and false; put the word in quotes
source: {name: 7}
    source.name: must be 1 to 64 letters, digits, - and _, not `7`; put it in quotes
source: {name: my camera}
    source.name: must be 1 to 64 letters, digits, - and _, not `my camera`
source: {type: rtsp}
    did you mean `video`?
daemon: {log_level: WARN}
    daemon.log_level: must be debug, info, warning or error, not `WARN`; did you mean `warning`?
custom: {pixel_range: 255}
    custom.pixel_range: must be 2 numbers in brackets, such as [0, 1] or null, not `255`
events: {allow: tabby}
    events.allow: must be a list, such as [one, two], not `tabby`
events: {allow: [1]}
    events.allow: in the list: must be text, not `1`; put it in quotes
intake: {bind: ~}
    intake.bind: must be an address, such as tcp://127.0.0.1:5555, not nothing
mqtt: {host: 'mqtt://me:geheim@10.0.0.5'}
    mqtt.host: `mqtt://me:***@10.0.0.5` must be a host name or an IP address alone, such as 10.0.0.5
source: {path: 'rtsp://a:g#heim@cam/x'}
    rtsp://a:***@cam/x cannot be opened: in a user name or password, write `#` as %23
source: {path: 'admin:geheim@10.0.0.5/x'}
    it does not begin with rtsp:// or http://
source: {type: picamera2, path: /dev/video0}
    source.path: type `picamera2` takes no path
source: {type: images, path: 'http://cam/x'}
    it needs `type: video`
source: {type: v4l2, path: 'rtsp://cam/x'}
    it needs `type: video`
source: {type: video, path: /dev/video0}
    it needs `type: v4l2`
source: {type: images, path: /srv/night.MP4}
    it needs `type: video`
source: {type: v4l2, addresses: ['tcp://10.0.0.5:1']}
    source.addresses: only type `imagezmq` takes addresses
source: {type: imagezmq, addresses: ['tcp://10.0.0.5:1'], path: /srv}
    source.path: type `imagezmq` takes no path but `addresses`
"""
"""What stands in the file, and below it a part of what is said."""


@pytest.mark.parametrize(
    ("text", "message"), list(zip(*[iter(ADVICE.strip().splitlines())] * 2, strict=True))
)
def test_advice_is_given_where_the_mistake_is_a_usual_one(tmp_path: Path, text: str, message: str) -> None:
    said = complaint(tmp_path, text)
    assert said and message.strip() in said, said


def test_a_path_tells_its_type_and_an_explicit_none_stays_none(tmp_path: Path) -> None:
    for path, kind in {
        "/srv/pictures": "images",
        "'*.jpg'": "images",
        "clips/night.MP4": "video",
        "rtsp://10.0.0.5/x": "video",
        "/dev/video0": "v4l2",
        "2": "v4l2",
        "picamera2": "picamera2",
        "auto": "auto",
    }.items():
        for text in (f"source: {{path: {path}}}", f"source: {{type: auto, path: {path}}}"):
            assert complaint(tmp_path, text) is None
            assert load_config(str(tmp_path / "incv3d.yaml"), {}).config.source.type == kind
    assert complaint(tmp_path, "source: {type: none, path: /srv}") is None
    assert load_config(str(tmp_path / "incv3d.yaml"), {}).config.source.type == "none"
    assert complaint(tmp_path, "source: {addresses: ['tcp://10.0.0.5:5555']}") is None
    assert load_config(str(tmp_path / "incv3d.yaml"), {}).config.source.type == "imagezmq"
    assert complaint(tmp_path, "source: {path: 0}") is None
    assert str(load_config(str(tmp_path / "incv3d.yaml"), {}).config.source.path) == "/dev/video0"


PATHS = {
    "model.store", "custom.file", "custom.labels", "custom.golden_picture", "source.path", "intake.keys",
    "saving.folder", "mqtt.password_file", "mqtt.ca_file", "latency.log", "http.token_file",
    "notify.urls_file", "clips.folder",
}  # fmt: skip


def test_every_path_is_found_from_the_file_and_from_the_home_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.chdir("/")
    more = {
        "custom.golden_picture": "golden_label: x",
        "mqtt.ca_file": "tls: true",
        "notify.urls_file": "rules: {all: {}}",
    }
    for key in PATHS:
        section, name = key.split(".")
        events = "events: {allow: ['*']}\n" if section in ("saving", "clips", "notify") else ""
        for given, wanted in {
            "~/x": "/home/me/x",
            "x/../y": f"{tmp_path}/x/../y",
            "/srv/x": "/srv/x",
        }.items():
            text = f"{section}: {{{name}: {given}, {more.get(key, '')}}}\n{events}"
            assert complaint(tmp_path, text.replace(", }", "}")) is None
            config = load_config(str(tmp_path / "incv3d.yaml"), {}).config
            assert as_builtins(config)[section][name] == wanted
            config = load_config(None, {"INCV3D_CONFIG": str(tmp_path / "incv3d.yaml")}).config
            assert as_builtins(config)[section][name] == wanted
    assert load_config(None, {"INCV3D_LATENCY_LOG": "~/log"}).config.latency.log == "/home/me/log"
    assert load_config(None, {}, {"latency.log": "a/log"}).config.latency.log == "/a/log"


def test_every_key_of_text_is_known_to_be_a_path_or_not() -> None:
    """A new key that names a file must be of the type FilePath, or `~` and relative paths are not found."""
    commented = (Path(__file__).parents[2] / "config/incv3d.yaml").read_text()
    about_files = re.compile(r"\b(file|folder|kept|the latency log|picture must)\b")
    document = yaml.safe_load(commented)
    for section, keys in [(section, document[section]) for section in SECTIONS]:
        part = commented.split(f"\n{section}:")[1].split("\n\n")[0]
        for key, default in keys.items():
            comment = re.search(rf"^  {key}:.*?#(.*)$", part, re.MULTILINE)
            if default == "" and comment and about_files.search(comment[1]):
                assert f"{section}.{key}" in PATHS, f"{section}.{key} names a file?"


def test_the_environment_gives_numbers_and_text_as_the_key_takes_them() -> None:
    environ = {"INCV3D_MODEL": "123", "INCV3D_FETCH_WAIT_S": "0.5", "INCV3D_THREADS": "2"}
    config = load_config(None, environ).config
    assert (config.model.name, config.model.fetch_wait_s, config.session.threads) == ("123", 0.5, 2)
