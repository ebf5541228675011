"""A password or token in an address comes out of no door, no command, no log and no file of a real daemon."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import shutil
import signal
import socket
import socketserver
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from brokers import MOSQUITTO, Listener, MosquittoBroker
from incv3d.cli import main
from incv3d.client import Client
from incv3d.config.address import Address
from incv3d.images.demo import demo_folder
from processes import PATIENCE_S, DaemonProcess, run_incv3d
from sse import Viewer

pytestmark = pytest.mark.slow

pytest.importorskip("av", reason="needs PyAV: pip install 'incv3d[video]'")

ONE, TWO = "Zq7kBlau", "Wx9vGelb"
"""Every secret is made of these, with the characters between them that break addresses."""
SECRETS = [f"{ONE}{between}{TWO}" for between in ("", "#", "/", "?", "[", "@", ":", "%40", " ", "&", "]/")]
FORMS = [
    "{scheme}://admin:SECRET@HOST/stream",
    "{scheme}://:SECRET@HOST/stream",
    "{scheme}://SECRET@HOST/stream",
    "{scheme}://HOST/video?user=admin&password=SECRET",
    "{scheme}://HOST/video?channel=1&token=SECRET",
    "{scheme}://HOST/snap.cgi?loginuse=admin&loginpas=SECRET",
    "{scheme}://HOST/user=admin&password=SECRET&channel=1&stream=0.sdp",
    "{scheme}://HOST/user=admin_password=SECRET_channel=1_stream=0.sdp?real_stream",
]
SCHEMES = ("rtsp", "http", "https", "rtmp")


def addresses(host: str) -> list[str]:
    """Each form with each scheme or secret at least once."""
    schemes, secrets = itertools.cycle(SCHEMES), itertools.cycle(SECRETS)
    made = [
        form.format(scheme=next(schemes)).replace("SECRET", next(secrets)).replace("HOST", host)
        for _ in range(2)
        for form in FORMS
    ]
    return [*made, f"admin:{ONE}{TWO}@{host}/x", f"rtsp:/admin:{ONE}{TWO}@{host}/x"]


class Camera(socketserver.ThreadingTCPServer):
    """A server that fails in another way each time that it is asked, and repeats what it was asked for."""

    allow_reuse_address = daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), CameraConnection)
        self.answers = itertools.cycle(
            [
                "{protocol} 401 Unauthorized\r\nCSeq: 1\r\nWWW-Authenticate: Basic realm=\"{path}\"\r\n\r\n",
                "{protocol} 404 Not Found {path}\r\nCSeq: 1\r\n\r\n",
                "{protocol} 302 Found\r\nCSeq: 1\r\nLocation: {path}\r\n\r\n",
                "{protocol} 200 OK\r\nCSeq: 1\r\nContent-Type: text/html\r\n\r\nno such thing: {path}",
                "{protocol} 302 Found\r\nLocation: http://127.0.0.1:1{path}\r\n\r\n",
                "",
                "{protocol} 200 OK\r\nthis is no header: {path}\r\n also: none\r\nX\r\n\r\n{path}",
                "\0\1{path}",
            ]
        )  # fmt: skip

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


class CameraConnection(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self.request.settimeout(1)
            asked = self.request.recv(10_000).decode("latin-1").split()
            path = asked[1] if len(asked) > 1 else "/"
            protocol = asked[2] if len(asked) > 2 else "HTTP/1.1"
            answer = next(self.server.answers).format(protocol=protocol, path=path)  # type: ignore[attr-defined]
            self.request.sendall(answer.encode("latin-1"))


@pytest.fixture
def camera() -> Iterator[Camera]:
    with Camera() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


class Said:
    """All that came out of anywhere, and where."""

    def __init__(self) -> None:
        self._words: list[tuple[str, str]] = []

    def add(self, where: str, words: object) -> None:
        self._words.append((where, words if isinstance(words, str) else json.dumps(words, default=str)))

    def check(self) -> None:
        logins = [f"admin:{secret}" for secret in SECRETS] + [f":{secret}" for secret in SECRETS] + SECRETS
        wanted = [ONE, TWO]
        for login in logins:
            wanted += [base64.b64encode(login.encode()).decode().rstrip("="), quote(login, safe="")]
        leaks = [
            f"{where}: {line}"
            for where, words in self._words
            for line in words.splitlines()
            if any(each in line for each in wanted)
        ]
        assert not leaks, "\n".join(dict.fromkeys(leaks))

    def add_files(self, *paths: Path) -> None:
        """Add the content of those that are not large."""
        for path in paths:
            if path.is_file() and path.stat().st_size < 1_000_000:
                self.add(str(path), path.read_bytes().decode("latin-1"))


def fetched(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
        return str(answer.read().decode("utf-8", "replace"))


def listen_to_page(url: str, said: Said) -> Viewer:
    viewer = Viewer(url)

    def listen() -> None:
        with contextlib.suppress(OSError, AssertionError, ValueError, AttributeError):
            for name, data in viewer.events():
                said.add(f"the page, {name}", data)

    threading.Thread(target=listen, daemon=True).start()
    return viewer


def test_no_secret_of_an_address_comes_out_of_a_daemon(state: Path, tmp_path: Path, camera: Camera) -> None:
    said = Said()
    home = tmp_path / "state"
    shutil.copytree(state, home)
    config = tmp_path / "incv3d.yaml"
    base: dict[str, Any] = {
        "http": {"bind": "127.0.0.1:0"},
        "daemon": {"log_level": "debug", "grace_s": 1},
        "events": {"allow": ["*"]},
        "saving": {"folder": str(tmp_path / "saved"), "min_free_bytes": 0},
    }
    broker = MosquittoBroker(tmp_path) if MOSQUITTO else None
    if broker:
        base["mqtt"] = {"host": "127.0.0.1", "port": broker.port, "image": True}
    listener = Listener(broker.port) if broker else None

    def write(**source: object) -> None:
        config.write_text(json.dumps({**base, "source": {"stall_timeout_s": 0.5, **source}}))

    write(path=f"rtsp://admin:{ONE}%23{TWO}@{camera.host}/x")
    daemon = DaemonProcess(home, tmp_path, "--config", str(config))
    try:
        url = daemon.url()
        daemon.ready()
        viewer = listen_to_page(url, said)
        with Client(daemon.door, timeout_s=PATIENCE_S) as client:
            for address in addresses(camera.host):
                write(path=address)
                daemon.signal(signal.SIGHUP)
                daemon.wait_for("rejected, the old one" if Address(address).mistake else "source.path is now")
                deadline = time.monotonic() + 0.6
                while time.monotonic() < deadline:
                    said.add("stats", client.ask("stats"))
                    time.sleep(0.2)
                for question in ("info", "stats"):
                    said.add(question, client.ask(question))
                for path in ("/", "/metrics", "/healthz"):
                    said.add(path, fetched(url + path))
            write(type="imagezmq", addresses=[f"tcp://admin:{ONE}{TWO}@127.0.0.1:5555"])
            daemon.signal(signal.SIGHUP)
            daemon.wait_for("source.type is now")
            said.add("stats", client.ask("stats"))
            write(path=str(demo_folder()))
            daemon.signal(signal.SIGHUP)
            daemon.wait_for("source.type is now")
            said.add("stats", client.ask("stats"))
        viewer.close()
        assert daemon.stop() == 0
    finally:
        daemon.kill()
        if listener:
            listener.close()
            for message in listener.seen:
                said.add(message.topic, message.payload.decode("utf-8", "replace"))
        if broker:
            broker.stop()
    said.add("log", "\n".join(daemon.said))
    said.add_files(*home.rglob("*"), *(tmp_path / "saved").rglob("*"), daemon.log)
    assert "***" in "\n".join(daemon.said)
    said.check()


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def in_process(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What the command ``incv3d`` prints, run here."""
    monkeypatch.setattr("sys.argv", ["incv3d", *words])
    with contextlib.suppress(SystemExit):
        main()
    printed = capsys.readouterr()
    return printed.out + printed.err


def test_no_secret_of_an_address_comes_out_of_a_command(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(state))
    said = Said()
    config = tmp_path / "incv3d.yaml"
    cat = str(demo_folder() / "cat.jpg")
    for address in addresses(closed_port()):
        config.write_text(json.dumps({"source": {"path": address}}))
        for words in (
            ("check-config", str(config)),
            ("check-config", str(config), "--show"),
            ("model", "fetch", "mine", "--like", "inception-v3", "--url", address),
            ("model", "import", address),
            ("send", address),
            ("send", cat, "--mqtt", address),
            ("classify", address),
            ("info", "--connect", address, "--timeout", "0.1"),
            ("keys", "list", address, address),
        ):
            said.add(" ".join(words[:2]), in_process(monkeypatch, capsys, *words))
    said.check()


@pytest.mark.parametrize("number", [0, 1, 3, 4])
def test_no_secret_of_an_address_comes_out_of_a_command_that_captures(
    state: Path, tmp_path: Path, number: int
) -> None:
    said = Said()
    address = addresses(closed_port())[number]
    config = tmp_path / "incv3d.yaml"
    config.write_text(json.dumps({"source": {"path": address}}))
    for words in (
        ("snapshot", str(tmp_path / "x.jpg"), "--source", address, "--settle", "0"),
        ("run", f"--source={address}", "--bind", address),
        ("doctor", "--config", str(config)),
    ):
        done = run_incv3d(state, *words)
        assert "Traceback" not in done.stderr and done.stdout + done.stderr
        said.add(" ".join(words[:1]), done.stdout + done.stderr)
    said.check()


@pytest.mark.parametrize(
    "key", ["model.name", "custom.file", "mqtt.host", "mqtt.prefix", "intake.bind", "http.bind"]
)
def test_an_address_under_a_key_that_takes_none_is_refused_without_its_secret(
    tmp_path: Path, key: str
) -> None:
    section, name = key.split(".")
    config = tmp_path / "incv3d.yaml"
    for between in ("", "#", "/", "@"):
        address = f"https://admin:{ONE}{between}{TWO}@10.0.0.5/model.tgz"
        config.write_text(json.dumps({section: {name: address}}))
        done = run_incv3d(tmp_path, "check-config", str(config))
        assert done.returncode == 2 and "admin:***@10.0.0.5" in done.stderr
        assert ONE not in done.stderr and TWO not in done.stderr
