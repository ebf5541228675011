"""Reading the configuration: every mistake is one line with file, line and key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from incv3d.config.intake import IntakeSection
from incv3d.config.loading import ENVIRONMENT, ConfigError, as_builtins, load_config
from incv3d.config.schema import Config
from incv3d.frames import Region

COMMENTED = Path(__file__).resolve().parents[2] / "config" / "incv3d.yaml"


def written(folder: Path, text: str | bytes) -> str:
    path = folder / "incv3d.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def test_without_a_file_the_defaults_are_in_force(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("incv3d.config.loading.SYSTEM_FILE", tmp_path / "none.yaml")
    loaded = load_config(environ={})
    assert loaded.config == Config() and loaded.origin == "built-in defaults"


def test_the_search_order_is_option_then_environment_then_system(monkeypatch, tmp_path) -> None:
    for name in ("option", "environment", "system"):
        (tmp_path / name).write_text(f"model: {{name: {name}}}\n")
    monkeypatch.setattr("incv3d.config.loading.SYSTEM_FILE", tmp_path / "system")
    environ = {"INCV3D_CONFIG": str(tmp_path / "environment")}
    assert load_config(str(tmp_path / "option"), environ).config.model.name == "option"
    assert load_config(None, environ).config.model.name == "environment"
    assert load_config(None, {}).config.model.name == "system"


def test_the_environment_goes_over_the_file_and_options_over_both(tmp_path) -> None:
    path = written(tmp_path, "session: {threads: 1, warmup_runs: 1}\nmodel: {name: file}\n")
    environ = {"INCV3D_THREADS": "2", "INCV3D_MODEL": "environment"}
    config = load_config(path, environ, {"model.name": "option", "intake.bind": None}).config
    assert (config.session.threads, config.session.warmup_runs, config.model.name) == (2, 1, "option")


def test_the_commented_file_holds_every_key_with_its_default() -> None:
    config = load_config(str(COMMENTED), {}).config
    assert config == Config()
    text = COMMENTED.read_text()
    assert as_builtins(config) == yaml.safe_load(text), "a key is missing from config/incv3d.yaml"
    for line in text.splitlines():
        if re.match(r"  \w+:", line):
            assert "#" in line, f"no comment: {line}"


def test_sections_whose_keys_are_all_commented_out_mean_their_defaults(tmp_path) -> None:
    assert load_config(written(tmp_path, "model:\n  # name: x\nintake:\n"), {}).config == Config()
    assert load_config(written(tmp_path, "# nothing\n"), {}).config == Config()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("intake:\n  bnid: x\n", r":2: intake\.bnid: unknown key; did you mean `bind`\?"),
        ("session:\n  treads: 2\n", r":2: session\.treads: unknown key; did you mean `threads`\?"),
        ("sesion: {threads: 2}\n", r":1: sesion: unknown key; did you mean `session`\?"),
        (
            "model: {log-level: info}\n",
            r":1: model\.log-level: unknown key here; `log_level` belongs under `daemon:`",
        ),
        (
            "model: {interval_s: 3}\n",
            r":1: .*; `interval_s` belongs under `source:` or `mqtt:` or `latency:`",
        ),
        ("path: /srv\n", r":1: path: unknown key here; `path` belongs under `source:`"),
        ("model: {log_levl: info}\n", r":1: .*; did you mean `log_level` under `daemon:`\?"),
        ("camera:\n  x: 1\n", r":1: camera: unknown key"),
        (
            "session:\n  threads: many\n",
            r":2: session\.threads: must be a whole number from 0 to 256, not `many`$",
        ),
        (
            "session:\n  threads: -1\n",
            r":2: session\.threads: must be a whole number from 0 to 256, not `-1`$",
        ),
        (
            "session:\n\n  engine: caffe\n",
            r":3: session\.engine: must be auto, tensorflow, litert or onnx, not `caffe`",
        ),
        ("latency: {interval_s: .nan}\n", r":1: latency\.interval_s: "),
        ("intake: 5\n", r":1: intake: must be `key: value` lines, not `5`"),
        ("intake:\n  bind: nonsense\n", r":2: intake\.bind: `nonsense` must have the form tcp://"),
        (
            "session:\n  cache_filters: maybe\n",
            r":2: session\.cache_filters: must be true, false or auto, not `maybe`",
        ),
        ("intake:\n  bind: tcp://127.0.0.1\n", r":2: intake\.bind: `tcp://127.0.0.1` must have the form"),
        (
            "intake: {bind: 'tcp://127.0.0.1:5556'}\n",
            r":1: intake\.publish: must differ from `bind`",
        ),
        ("intake: {keys: /k, insecure: true}\n", r":1: intake\.insecure: contradicts `keys`"),
        ("source: {type: images}\n", r":1: source\.path: type `images` needs an image"),
        ("source: {type: video}\n", r":1: source\.path: type `video` needs a video file, or an address"),
        ("source: {type: imagezmq}\n", r":1: source\.addresses: type `imagezmq` needs"),
        ("source:\n  addresses: [tcp]\n", r":2: source\.addresses: `tcp` must have the form tcp://"),
        *(
            (
                f"source: {{type: imagezmq, addresses: ['tcp://{host}:5555']}}\n",
                rf":1: source\.addresses: `tcp://{re.escape(host)}:5555` is an address to listen on; write ",
            )
            for host in ("*", "0.0.0.0", "[::]")
        ),
        (
            "source: {type: webcam}\n",
            r":1: source\.type: must be none, auto, .* not `webcam`; did you mean `v4l2`\?$",
        ),
        (
            "custom:\n  interpolation: area\n",
            r":2: custom\.interpolation: must be auto, bilinear, .* or pillow-lanczos, not `area`",
        ),
        ("custom: {resize_to: 256}\n", r":1: custom\.resize_to: requires `fit: crop`"),
        (
            "custom: {resize_to: 256, fit: crop, crop_fraction: 0.875}\n",
            r":1: custom\.resize_to: .*excludes crop_fraction",
        ),
        ("source: {interval_s: 1, max_fps: 2}\n", r":1: source\.max_fps: excludes `interval_s`"),
        (
            "source:\n  controls: {x: {y: 1}}\n",
            r":2: source\.controls\.x: must be true, false, a whole number",
        ),
        ("source: {name: zmq}\n", r":1: source\.name: `zmq` is reserved for"),
        ("source: {name: 'a b'}\n", r":1: source\.name: "),
        (
            "source:\n  transform: rotate45\n",
            r":2: source\.transform: must be none, hflip, vflip, .* not `rotate45`; did you mean `rotate",
        ),
        (
            "source:\n  regions:\n    a: [0, 0, 1, 1]\n    feeder-1: [0, 0, 320, 1]\n",
            r":4: source\.regions\.feeder-1: 320 must be a fraction of the image, from 0 to 1",
        ),
        ("source: {regions: {a: [-0.1, 0, 1, 1]}}\n", r":1: source\.regions\.a: -0\.1 must be a fraction"),
        ("source: {regions: {a: [.nan, 0, 1, 1]}}\n", r":1: source\.regions\.a: nan must be a fraction"),
        ("source: {regions: {a: [0, 0, 1]}}\n", r":1: source\.regions\.a: must be four numbers.* not 3$"),
        ("source: {regions: {a: [0, 0, 0, 1]}}\n", r":1: source\.regions\.a: its width and height must not"),
        (
            "source: {regions: {a: [0.5, 0, 0.6, 1]}}\n",
            r":1: source\.regions\.a: x \+ width is 1\.1; the image ends at 1",
        ),
        ("source: {regions: {a: [0, 0.9, 1, 0.2]}}\n", r":1: source\.regions\.a: y \+ height is 1\.1"),
        (
            "source: {regions: {a: 0.5}}\n",
            r":1: source\.regions\.a: must be \[x, y, width, height\], or `box: .*` with `model: NAME`",
        ),
        (
            "source: {regions: {a: [a, 0, 1, 1]}}\n",
            r":1: source\.regions\.a: in the list: must be a number, not `a`",
        ),
        (
            "source: {regions: [[0, 0, 1, 1]]}\n",
            r":1: source\.regions: must be `name: value` lines, each value \[x, .*, not a list",
        ),
        (
            "source:\n  regions:\n    a b: [0, 0, 1, 1]\n",
            r":2: source\.regions: `a b` is not a valid name for",
        ),
        (
            "source: {regions: {a.b: [0, 0, 1, 1]}}\n",
            r":1: source\.regions: `a\.b` is not a valid name for a region",
        ),
        (
            "source: {regions: {" + ", ".join(f"r{n}: [0, 0, 1, 1]" for n in range(33)) + "}}\n",
            r":1: source\.regions: at most 32 are possible, not 33",
        ),
        (
            "source: {change_threshold: 0}\n",
            r":1: source\.change_threshold: must be a number, more than 0 and at most 1, not `0`",
        ),
        (
            "source: {type: imagezmq, addresses: ['tcp://a:1', 'tcp://b:1'], skip_unchanged: true}\n",
            r":1: source\.skip_unchanged: images of several senders cannot be compared",
        ),
        (
            "events: {allow: [x], frames: 2}\n",
            r":1: events\.needed: 3 exceeds `frames` \(2\); no label could ever enter",
        ),
        ("events: {needed: 2}\n", r":1: events\.needed: no label is watched; add some to `allow`"),
        ("events:\n  groups: {x: []}\n", r":2: events\.groups: `x` contains no labels"),
        (
            "events:\n  labels: {x: 1.5}\n",
            r":2: events\.labels: `x`: a score must be more than 0 and at most 1, not 1\.5",
        ),
        (
            "events:\n  labels: {x: .nan}\n",
            r":2: events\.labels: `x`: a score must be more than 0 and at most 1, not nan",
        ),
        (
            "events:\n  labels: {x: [0.2, 0.4]}\n",
            r":2: events\.labels: `x`: the leave score 0\.4 exceeds the enter score 0\.2",
        ),
        ("events:\n  labels: {x: [1, 1, 1]}\n", r":2: events\.labels: `x`: must be one score, or two"),
        (
            "events:\n  labels: {x: high}\n",
            r":2: events\.labels\.x: must be a number or a list of numbers.*, not `high`",
        ),
        ("events: {allow: [x], threshold: 0}\n", r":1: events\.threshold: a score must be more than 0"),
        ("saving:\n  folder: /srv\n", r":2: saving\.folder: no label is watched; add some to `events`"),
        (
            "saving: {max_bytes: 5}\n",
            r":1: saving\.max_bytes: must be a whole number, at least 1048576, not `5`",
        ),
        ("model: {name: x}\nmodel: {name: y}\n", r":2: `model` is set twice \(first in line 1\)"),
        ("model:\n  name: x\n  name: y\n", r":3: `model\.name` is set twice \(first in line 2\)"),
        ("model:\n\tname: x\n", r":2: not valid YAML: "),
        ("model: [\n", r":2: not valid YAML: "),
        ("- a\n- b\n", r":1: must contain `key: value` lines"),
        ("5: x\n", r":1: a key must be a plain word"),
        ("model: !!python/object/apply:os.system [ls]\n", r":1: not valid YAML: could not determine"),
        ("a: &x [1]\nb: *y\n", r":2: not valid YAML: found undefined alias"),
        ("a: " + "[" * 3000, r": nested too deeply"),
        (b"model: {name: \xff}\n", r": not UTF-8 text \(byte 14\)"),
        (b"model: {name: a\x00b}\n", r": not valid YAML: "),
        ("# " + "x" * 1024 * 1024, r": larger than \d+ bytes"),
    ],
)
def test_a_mistake_is_one_line_with_file_line_and_key(tmp_path, text, message) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    assert re.match(re.escape(path) + message, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value) and caught.value.is_lasting


def test_three_lines_are_enough_for_events_and_their_images(tmp_path) -> None:
    text = "events:\n  labels: {giant panda: 1, '*spider*': [0.4, 0.2]}\nsaving: {folder: /srv/seen}\n"
    config = load_config(written(tmp_path, text), {}).config
    assert config.events.enabled and config.events.labels == {"giant panda": 1.0, "*spider*": [0.4, 0.2]}
    assert not Config().events.enabled


def test_a_file_that_is_not_there_is_said_to_be_named_by_whom(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml: no such file$"):
        load_config(str(tmp_path / "gone.yaml"), {})
    with pytest.raises(ConfigError, match=r"gone\.yaml: no such file \(from \$INCV3D_CONFIG\)"):
        load_config(None, {"INCV3D_CONFIG": str(tmp_path / "gone.yaml")})


@pytest.mark.parametrize("variable", sorted(set(ENVIRONMENT) - {"INCV3D_MODEL", "INCV3D_LATENCY_LOG"}))
def test_a_wrong_value_in_the_environment_names_its_variable(variable, tmp_path) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"${variable}")):
        load_config(written(tmp_path, ""), {variable: "no such thing"})


def test_a_wrong_option_names_its_key(tmp_path) -> None:
    with pytest.raises(
        ConfigError, match=r"the command line \(session\.threads\): must be a whole number from 0 to 256"
    ):
        load_config(written(tmp_path, ""), {}, {"session.threads": -5})


def test_many_aliases_do_not_fill_the_memory(tmp_path) -> None:
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 30)]
    with pytest.raises(ConfigError, match=r":1: a0: unknown key"):
        load_config(written(tmp_path, "\n".join(lines)), {})


@pytest.mark.parametrize(
    ("bind", "publish", "open_to_others"),
    [
        ("tcp://127.0.0.1:5555", "tcp://127.0.0.1:5556", ""),
        ("tcp://127.9.9.9:5555", "", ""),
        ("tcp://localhost:5555", "ipc:///run/results", ""),
        ("tcp://[::1]:5555", "", ""),
        ("tcp://lo:5555", "", ""),
        ("tcp://0.0.0.0:5555", "", "bind"),
        ("tcp://*:5555", "", "bind"),
        ("tcp://eth0:5555", "", "bind"),
        ("tcp://raspberrypi:5555", "", "bind"),
        ("tcp://[::]:5555", "", "bind"),
        ("tcp://10.0.0.5:5555", "tcp://*:5556", "bind publish"),
        ("ipc:///run/door", "tcp://10.0.0.5:5556", "publish"),
    ],
)
def test_which_addresses_other_machines_can_reach(bind: str, publish: str, open_to_others: str) -> None:
    section = IntakeSection(bind=bind, publish=publish)
    assert list(section.open_addresses) == open_to_others.split()


def test_it_is_known_where_a_key_was_given(tmp_path) -> None:
    path = written(tmp_path, "intake:\n  bind: tcp://127.0.0.1:1\n")
    loaded = load_config(path, {"INCV3D_PUBLISH": "tcp://127.0.0.1:2"}, {"model.name": "x"})
    assert loaded.place("intake.bind") == f"{path}:2: intake.bind"
    assert loaded.place("intake.publish") == "$INCV3D_PUBLISH"
    assert loaded.place("model.name") == "the command line (model.name)"
    assert loaded.place("intake.keys") == f"{path}: intake.keys"


@pytest.mark.parametrize(
    ("source", "gap_s", "patience_s"),
    [
        ("{}", 0, 10),
        ("{interval_s: 10}", 10, 10),
        ("{max_fps: 4}", 0.25, 10),
        ("{type: images, path: x, stall_timeout_s: 0.5}", 0, 2),
        ("{type: v4l2, fps: 0.05}", 0, 40),
    ],
)
def test_how_often_a_frame_is_wanted_and_how_long_it_may_take(tmp_path, source, gap_s, patience_s) -> None:
    section = load_config(written(tmp_path, f"source: {source}\n"), {}).config.source
    assert (section.frame_interval_s, section.frame_timeout_s) == (gap_s, patience_s)


def test_regions_are_fractions_and_may_touch_the_edges(tmp_path) -> None:
    text = "source: {regions: {all: [0, 0, 1, 1], corner: [0.9, 0.7, 0.1, 0.3], odd: [0.57, 0, 0.43, 1]}}\n"
    section = load_config(written(tmp_path, text), {}).config.source
    assert section.named_regions == {
        "all": Region(0, 0, 1, 1),
        "corner": Region(0.9, 0.7, 0.1, 0.3),
        "odd": Region(0.57, 0, 0.43, 1),
    }
