"""What `run`, `check-config` and `doctor` find before anything is started: one list of checks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from doubles import jpeg
from incv3d.app.prerequisites import Mistake, find_mistakes
from incv3d.config.loading import load_config
from incv3d.transports.zeromq.key_store import KeyStore
from processes import DaemonProcess, run_incv3d

Look = Callable[[str], list[Mistake]]


@pytest.fixture
def look(tmp_path: Path) -> Look:
    """The mistakes in a configuration, for a daemon with an empty store that downloads nothing."""

    def find(text: str) -> list[Mistake]:
        path = tmp_path / "incv3d.yaml"
        path.write_text(text.replace("HERE", str(tmp_path)))
        loaded = load_config(str(path), {"INCV3D_FETCH_WAIT_S": "0"})
        return find_mistakes(loaded, {"STATE_DIRECTORY": str(tmp_path / "state")})

    return find


MISTAKES = [
    ("http: {bind: '0.0.0.0:0', token_file: HERE/none}", "http.token_file", "cannot be read: No such file"),
    ("http: {bind: '0.0.0.0:0', token_file: HERE/short}", "http.token_file", "one word of 16 characters"),
    ("http: {token_file: HERE/none}", "http.token_file", "HERE/none: no such file"),
    ("mqtt: {host: x, username: me, password_file: HERE/none}", "mqtt.password_file", "cannot be read"),
    ("mqtt: {host: x, username: me, password_file: HERE/empty}", "mqtt.password_file", "must hold one line"),
    ("mqtt: {host: x, tls: true, ca_file: HERE/short}", "mqtt.ca_file", "no certificate in PEM format"),
    ("mqtt: {host: x, frames: incv3d/#}", "mqtt.frames", "`incv3d/#` would take what daemons publish"),
    ("custom: {file: HERE/none}", "custom.file", "HERE/none: no such file"),
    ("custom: {file: HERE/short}", "custom.file", "HERE/short: "),
    ("custom: {labels: HERE/none}", "custom.labels", "HERE/none: no such file"),
    ("model: {name: unheard-of}", "model.name", "no model `unheard-of` in"),
    ("model: {name: inception-v3}", "model.name", "fetch it: incv3d model fetch inception-v3"),
    ("model: {name: Not A Name}", "model.name", "`Not A Name` is not a valid model name"),
    ("model: {store: HERE/short}", "model.store", "HERE/short: not a folder"),
    ("events: {allow: [unheard-of]}", "events.allow", "efficientnet-lite0 has no label `unheard-of`"),
    ("events: {groups: {birds: [unheard-of]}}", "events.groups", "has no label `unheard-of`"),
    ("source: {path: HERE/none.jpg}", "source.path", "HERE/none.jpg: no such file or folder"),
    (
        "source: {type: picamera}",
        "source.type",
        "the Python library picamera is missing; to install it: sudo apt-get",
    ),
    ("intake: {keys: HERE/none}", "intake.keys", "there are no keys in HERE/none"),
    ("intake: {keys: HERE/loose}", "intake.keys", "other users can read the daemon's secret key: chmod 600"),
    ("intake: {keys: HERE/damaged}", "intake.keys", "server.key: it contains no keys"),
    ("intake: {bind: 'tcp://0.0.0.0:5999'}", "intake.bind", "there are no keys in HERE/keys"),
    (
        "intake: {publish: 'ipc://HERE/none/x'}",
        "intake.publish",
        "cannot listen on ipc://HERE/none/x: No such",
    ),
]


@pytest.fixture(autouse=True)
def _files(tmp_path: Path) -> None:
    (tmp_path / "short").write_text("short")
    (tmp_path / "empty").write_text("")
    for name in ("short", "empty"):
        (tmp_path / name).chmod(0o600)
    for name in ("loose", "damaged"):
        KeyStore(tmp_path / name).new()
    (tmp_path / "loose/server.key").chmod(0o644)
    (tmp_path / "damaged/server.key").write_text("?")


@pytest.mark.parametrize(("text", "key", "said"), MISTAKES)
def test_a_mistake_is_one_line_with_its_place(
    look: Look, tmp_path: Path, text: str, key: str, said: str
) -> None:
    if key == "source.type" and find_spec("picamera"):
        pytest.skip("picamera is installed")
    (mistake,) = look(f"\n{text}\n")
    place = f"{tmp_path}/incv3d.yaml:2: {key}"
    assert mistake.what.startswith(place) or mistake.what.startswith(f"{tmp_path}/incv3d.yaml: {key}: ")
    assert mistake.key == key and said.replace("HERE", str(tmp_path)) in mistake.what
    assert "\n" not in mistake.what and not mistake.is_denied


@pytest.mark.parametrize(
    ("module", "text", "key"),
    [
        ("paho", "mqtt: {host: x}", "mqtt.host"),
        ("aiohttp", "http: {bind: '127.0.0.1:0'}", "http.bind"),
        ("av", "source: {path: 'rtsp://10.0.0.5/x'}", "source.type"),
        ("tensorflow", "session: {engine: tensorflow}", "session.engine"),
    ],
)
def test_a_missing_library_is_a_mistake_of_the_part_that_needs_it(
    look: Look, monkeypatch, module: str, text: str, key: str
) -> None:
    real = find_spec
    for place in ("engines.base", "transports.errors"):
        monkeypatch.setattr(f"incv3d.{place}.find_spec", lambda name: None if name == module else real(name))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == module else real(name))
    (mistake,) = look(text)
    assert mistake.key == key and "missing" in mistake.what and "pip install" in mistake.what


def test_what_can_pass_by_itself_is_no_mistake(look: Look, tmp_path: Path) -> None:
    assert look("source: {path: 'rtsp://10.255.255.1/camera'}") == []
    assert look("source: {path: /dev/video77}") == []
    assert look("source: {path: /media/stick/pictures}") == []
    assert look("mqtt: {host: broker.invalid}") == []
    assert look("intake: {bind: 'tcp://10.255.255.1:5555', insecure: true}") == []
    assert look("model: {name: inception-v3, fetch_wait_s: 600}") != []  # the environment says 0
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert look(f"intake: {{bind: 'tcp://127.0.0.1:{taken.getsockname()[1]}'}}") == []
        assert look(f"http: {{bind: '127.0.0.1:{taken.getsockname()[1]}'}}") == []


def test_a_known_model_that_may_be_downloaded_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "incv3d.yaml"
    path.write_text("model: {name: inception-v3}")
    loaded = load_config(str(path), {})
    assert find_mistakes(loaded, {"STATE_DIRECTORY": str(tmp_path / "state")}) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_what_this_user_may_not_look_at_is_told_apart(tmp_path: Path, look: Look) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.is_relative_to("/tmp"):
            folder.chmod(0o755)
    (tmp_path / "token").write_text("a word of more than sixteen")
    (tmp_path / "token").chmod(0o600)
    text = f"http: {{bind: '0.0.0.0:0', token_file: {tmp_path}/token}}\nintake: {{keys: {tmp_path}/loose}}"
    look(text)  # imports what it needs, which another user might not be able to read
    os.seteuid(4321)
    try:
        path = tmp_path / "incv3d.yaml"
        found = find_mistakes(load_config(str(path), {}), {"STATE_DIRECTORY": str(tmp_path / "state")})
    finally:
        os.seteuid(0)
    denied = {mistake.key: mistake.what for mistake in found if mistake.is_denied}
    assert list(denied) == ["intake.keys", "http.token_file", "model.name"]
    assert "Permission denied: sudo chown root:" in denied["http.token_file"]


ALL_AT_ONCE = """\
http: {bind: '0.0.0.0:0', token_file: HERE/none}
mqtt: {host: x, username: me, password_file: HERE/empty}
model: {name: unheard-of}
source: {path: HERE/none.jpg}
"""
KEYS = ("http.token_file", "mqtt.password_file", "source.path", "model.name")


def test_run_and_check_config_and_doctor_find_the_same(tmp_path: Path) -> None:
    config = tmp_path / "all.yaml"
    config.write_text(ALL_AT_ONCE.replace("HERE", str(tmp_path)))
    door = {"INCV3D_BIND": f"ipc://{tmp_path}/door", "INCV3D_PUBLISH": f"ipc://{tmp_path}/results"}
    run, check = (
        run_incv3d(tmp_path / "state", command, "--config", str(config), **door)
        for command in ("run", "check-config")
    )
    assert (run.returncode, check.returncode) == (2, 2)
    assert run.stderr == check.stderr and check.stdout == ""
    lines = check.stderr.splitlines()
    assert [line.split(": ")[2] for line in lines] == list(KEYS), lines
    done = run_incv3d(tmp_path / "state", "doctor", "--json", "--config", str(config), **door)
    said = [f["what"] for f in json.loads(done.stdout)["findings"] if f["status"] == "problem"]
    for key in KEYS[:3]:
        assert any(key in what for what in said), (key, said)
    assert any("unheard-of is not in the store" in what for what in said)


def test_check_config_answers_programs_in_json(tmp_path: Path) -> None:
    config = tmp_path / "my.yaml"
    config.write_text(f"custom: {{file: {tmp_path}/none}}")
    done = run_incv3d(tmp_path, "check-config", "--json", str(config))
    answer = json.loads(done.stdout)
    assert done.returncode == 2 and answer["origin"] == str(config) and answer["user"]
    (mistake,) = answer["mistakes"]
    assert (mistake["key"], mistake["is_denied"]) == ("custom.file", False) and "no such file" in mistake[
        "what"
    ]
    config.write_text("{}")
    done = run_incv3d(tmp_path, "check-config", "--json", str(config))
    assert done.returncode == 0 and json.loads(done.stdout)["mistakes"] == []


def test_a_reload_makes_the_same_checks(state: Path, tmp_path: Path) -> None:
    config = tmp_path / "my.yaml"
    config.write_text("{}")
    daemon = DaemonProcess(state, tmp_path, "--config", str(config)).ready()
    config.write_text(f"model: {{top_k: 2}}\nhttp: {{bind: '0.0.0.0:0', token_file: {tmp_path}/none}}")
    daemon.signal(signal.SIGHUP)
    line = daemon.wait_for("the new configuration is rejected, the old one stays in force")
    assert f"{config}:2: http.token_file: {tmp_path}/none: cannot be read" in line
    assert daemon.stop() == 0


def test_a_model_that_cannot_be_downloaded_now_is_tried_again(tmp_path: Path) -> None:
    config = tmp_path / "my.yaml"
    config.write_text("model: {name: inception-v3}")
    away = {"INCV3D_FETCH_WAIT_S": "1", "https_proxy": "http://127.0.0.1:1"}
    daemon = DaemonProcess(tmp_path / "state", tmp_path, "--config", str(config), **away)
    assert daemon.wait() == 1, daemon.said
    assert any("no network" in line for line in daemon.said), daemon.said


def test_an_address_in_use_is_tried_again(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        done = run_incv3d(tmp_path, "run", "--bind", address, "--publish", f"ipc://{tmp_path}/results")
    assert done.returncode == 1 and "is incv3d running already?" in done.stderr


@pytest.mark.parametrize("what", ["picture", "label"])
def test_a_golden_picture_that_can_never_be_right_ends_with_status_2(
    state: Path, tmp_path: Path, what: str
) -> None:
    # A model in the store that is not what it should be: found when it is run, and no start makes it better.
    shutil.copytree(state, tmp_path / "state")
    folder = tmp_path / "state/models/efficientnet-lite0"
    if what == "picture":
        (folder / "coffee.jpg").write_bytes(jpeg())
    else:
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["entry"]["golden"]["label"] = "unheard-of"
        (folder / "manifest.json").write_text(json.dumps(manifest))
    daemon = DaemonProcess(tmp_path / "state", tmp_path)
    assert daemon.wait() == 2, daemon.said
    assert any("coffee.jpg should be" in line or "no label `unheard-of`" in line for line in daemon.said)


def test_nothing_that_takes_long_is_imported_to_check(tmp_path: Path) -> None:
    code = "import sys, incv3d.app.prerequisites; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_golden_picture_of_another_kind_is_found_before_the_network_is_imported(
    look: Look, tmp_path: Path
) -> None:
    (tmp_path / "net.tflite").write_bytes(b"\0\0\0\0TFL3" + bytes(64))
    golden = "golden_picture: HERE/short, golden_label: cat"
    (mistake,) = look(f"custom: {{file: HERE/net.tflite, {golden}}}")
    assert mistake.key == "custom.golden_picture" and "not a JPEG, PNG, WebP or BMP" in mistake.what


def test_a_golden_label_that_the_model_does_not_have_is_found_by_check_config(
    state: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(state / "models", tmp_path / "models") / "efficientnet-lite0"
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["entry"]["golden"]["label"] = "unheard-of"
    (folder / "manifest.json").write_text(json.dumps(manifest))
    loaded = load_config(None, {"INCV3D_CONFIG": "", "INCV3D_MODEL": "efficientnet-lite0"})
    (mistake,) = find_mistakes(loaded, {"STATE_DIRECTORY": str(tmp_path)})
    assert "efficientnet-lite0 has no label `unheard-of`" in mistake.what
