"""``incv3d notify test``, and what a configuration without Apprise's blessing says."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from processes import run_incv3d

SECRET = "hunter2hunter2"


class Taking(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *values: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Taking)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def configured(folder: Path, *urls: str) -> str:
    (folder / "urls").write_text("\n".join(urls) + "\n")
    (folder / "urls").chmod(0o600)
    config = folder / "incv3d.yaml"
    config.write_text("events: {allow: ['*']}\nnotify:\n  urls_file: urls\n  rules: {all: {}}\n")
    return str(config)


def test_each_service_has_a_line_without_its_secrets(tmp_path: Path, port: int) -> None:
    config = configured(
        tmp_path, f"json://user:{SECRET}@127.0.0.1:{port}", f"json://user:{SECRET}@127.0.0.1:9"
    )
    done = run_incv3d(tmp_path, "notify", "test", "--config", config)
    good, bad = done.stdout.splitlines()
    assert good.endswith(": sent") and ": failed: " in bad
    assert done.returncode == 1
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("urls", "said"),
    [
        (["nonsense"], ":1: not an address that Apprise understands, such as ntfy://topic"),
        (["# nothing"], "names no service: "),
    ],
)
def test_a_mistake_in_the_file_is_one_line_and_the_status_is_2(
    tmp_path: Path, urls: list[str], said: str
) -> None:
    config = configured(tmp_path, *urls)
    for words in (("notify", "test", "--config", config), ("check-config", config)):
        done = run_incv3d(tmp_path, *words)
        assert done.returncode == 2, done
        assert said in done.stderr and "notify.urls_file" in done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: {a: {lable: fox}}", "notify.rules.a: `lable` is unknown; a rule has label, source, when"),
        ("rules: {a: {when: noon}}", "notify.rules.a.when: must be `entered` or `left`"),
        ("rules: {a: {between: 7-19}}", "notify.rules.a.between: must be hours of local time"),
        ("rules: {a: {}}", "notify.rules: where to send is missing; set `urls_file`"),
        ("urls_file: urls", "notify.urls_file: no rule says when to send"),
    ],
)
def test_a_mistake_in_the_rules_is_named(tmp_path: Path, text: str, said: str) -> None:
    config = tmp_path / "incv3d.yaml"
    config.write_text(f"events: {{allow: ['*']}}\nnotify:\n  {text}\n")
    done = run_incv3d(tmp_path, "check-config", str(config))
    assert done.returncode == 2 and said in done.stderr


def test_without_a_configured_service_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "incv3d.yaml").write_text("model: {}\n")
    done = run_incv3d(tmp_path, "notify", "test", "--config", str(tmp_path / "incv3d.yaml"))
    assert done.returncode == 2
    assert done.stderr.startswith("incv3d: notify.urls_file: is not set")
