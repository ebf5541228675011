"""``incv3d top`` in a real terminal: keys are pressed in tmux, and its screen is read."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from incv3d.cli.top import results_beside
from processes import PATIENCE_S, DaemonProcess, environment, run_incv3d


@pytest.fixture(scope="module")
def daemon(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    process = DaemonProcess(state, tmp_path_factory.mktemp("daemon"), "--demo")
    yield process.ready()
    process.stop()


class Terminal:
    """A shell in a tmux of its own."""

    def __init__(self, folder: Path) -> None:
        self._socket = str(folder / "tmux")
        self._tmux(
            "-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", "env PS1='$ ' sh", env=folder
        )

    def _tmux(self, *words: str, env: Path | None = None) -> str:
        done = subprocess.run(
            ["tmux", "-S", self._socket, *words],
            env=environment(env) if env else None,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout

    def type(self, *keys: str) -> None:
        self._tmux("send-keys", *keys)

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    def screen(self) -> str:
        return self._tmux("capture-pane", "-p")

    def wait_for(self, shows: Callable[[str], bool]) -> str:
        deadline = time.monotonic() + PATIENCE_S
        while not shows(screen := self.screen()):
            assert time.monotonic() < deadline, screen
            time.sleep(0.1)
        return screen

    def close(self) -> None:
        self._tmux("kill-server")


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    if not shutil.which("tmux"):
        pytest.skip("needs tmux: apt-get install tmux")
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.close()


def command(daemon: DaemonProcess) -> str:
    return f"{sys.executable} -m incv3d top --connect {daemon.door} --results {daemon.results}; echo over: $?"


@pytest.mark.parametrize("key", ["q", "C-c"])
def test_it_shows_updates_until_a_key_is_pressed(daemon, terminal: Terminal, key: str) -> None:
    terminal.type(command(daemon), "Enter")
    screen = terminal.wait_for(lambda screen: "espresso" in screen)
    assert screen.startswith("incv3d ready for") and "source demo ok" in screen and "p95" in screen
    terminal.type("x", "C-z")  # which do nothing
    terminal.type(key)
    screen = terminal.wait_for(lambda screen: "over: 0" in screen)
    assert "frames/s" not in screen, "the terminal is as it was before"
    terminal.type("echo typed", "Enter")
    terminal.wait_for(lambda screen: "$ echo typed" in screen)


def test_it_follows_the_size_of_the_terminal(daemon, terminal: Terminal) -> None:
    terminal.type("export COLUMNS=100 LINES=30; " + command(daemon), "Enter")
    terminal.wait_for(lambda screen: "espresso" in screen)
    terminal.resize(30, 40)
    # The terminal itself cuts lines without an ellipsis, before they are drawn anew.
    narrow = terminal.wait_for(lambda screen: "p95" in screen and "p99" not in screen and "…" in screen)
    assert "frames/s" in narrow
    terminal.resize(120, 40)
    terminal.wait_for(lambda screen: "worst" in screen and "espresso" in screen)
    terminal.type("q")
    terminal.wait_for(lambda screen: "over: 0" in screen)


def test_it_waits_for_an_unreachable_daemon(state: Path, tmp_path: Path, terminal: Terminal) -> None:
    (tmp_path / "own").mkdir()
    daemon = DaemonProcess(state, tmp_path / "own").ready()
    terminal.type(command(daemon), "Enter")
    terminal.wait_for(lambda screen: "incv3d ready for" in screen)
    daemon.kill()
    terminal.wait_for(lambda screen: "not reachable since" in screen)
    terminal.wait_for(lambda screen: "nothing listens at that address" in " ".join(screen.split()))
    again = DaemonProcess(state, tmp_path / "own").ready()
    terminal.wait_for(lambda screen: "restarted once" in screen and "not reachable" not in screen)
    terminal.type("q")
    terminal.wait_for(lambda screen: "over: 0" in screen)
    assert again.stop() == 0


def test_once_is_for_scripts(state: Path, daemon: DaemonProcess) -> None:
    done = run_incv3d(state, "top", "--once", "--connect", daemon.door, "--results", daemon.results)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("incv3d ready for") and "\x1b" not in done.stdout
    assert "efficientnet-lite0 on" in done.stdout and "demo" in done.stdout


def test_once_without_a_daemon_is_one_line(state: Path, tmp_path: Path) -> None:
    done = run_incv3d(state, "top", "--once", "--connect", f"ipc://{tmp_path}/nobody")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("incv3d: no answer from ipc://") and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        ((), 2, "standard output is not a terminal; use --once"),
        (("--once", "--connect", "nonsense"), 1, "nonsense: cannot connect"),
        (("--once", "--interval", "0"), 2, "--interval"),
    ],
)
def test_what_cannot_be_is_one_line(state: Path, words, status, complaint) -> None:
    done = run_incv3d(state, "top", *words)
    assert done.returncode == status and complaint in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("door", "results"),
    [
        ("tcp://127.0.0.1:5555", "tcp://127.0.0.1:5556"),
        ("tcp://[::1]:7000", "tcp://[::1]:7001"),
        ("ipc:///run/door", ""),
        ("tcp://pi", ""),
        ("tcp://pi:99999", ""),
        ("nonsense", ""),
    ],
)
def test_results_are_expected_at_the_next_port(door: str, results: str) -> None:
    assert results_beside(door) == results
