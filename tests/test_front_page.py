"""What the front page shows is true: its commands and snippets are run as they stand."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from incv3d.images.demo import demo_folder
from pages import CHECKOUT, FRONT_PAGE, HTTP, LATENCY_LOG, PROTOCOL, Fence, codes, fences, section
from processes import PATIENCE_S, environment

NOT_RUN = {
    "sudo systemd/install": "installs onto this machine; tests/system/nspawn runs it in a Debian of its own",
    "systemctl status incv3d": "needs the installed service; tests/system/nspawn asks for it",
    "tail -F /var/log/incv3d/latency.log": "needs the installed service",
}
START = "daemon/run --http 127.0.0.1:8080"
PORTS = (5555, 5556, 8080)
"""Those of the front page."""
SCORE_DIFFERS = 0.02
"""At most, from one processor to another."""
TYPED = [(fence, command) for fence in fences(FRONT_PAGE) for command in fence.commands]
SNIPPETS = [fence for fence in fences(FRONT_PAGE) if fence.language == "python"]


@dataclass(frozen=True, slots=True)
class Machine:
    """A copy of the checkout with an environment, and a loopback on which its ports are free."""

    checkout: Path
    prefix: tuple[str, ...]
    """Words that run a command on that loopback."""
    environ: dict[str, str]

    def start(self, *words: str, **options: IO[str] | int) -> subprocess.Popen[str]:
        command = [*self.prefix, *words]
        return subprocess.Popen(command, cwd=self.checkout, env=self.environ, text=True, **options)  # type: ignore[call-overload]

    def run(self, *words: str) -> str:
        process = self.start(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        out, complaint = process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0, f"{words}: {complaint}{out}"
        return str(out)


@pytest.fixture(scope="module")
def loopback() -> Iterator[tuple[str, ...]]:
    """Words that run a command with a loopback of its own; none where that is not possible."""
    script = "ip link set lo up && echo up && exec sleep 3600"
    words = ["unshare", "--net", *(["--map-root-user"] if os.getuid() else []), "sh", "-c", script]
    try:
        holder = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except FileNotFoundError:
        holder = None
    if holder and holder.stdout and holder.stdout.readline() == "up\n":
        as_user = ("--user", "--preserve-credentials") if os.getuid() else ()
        yield ("nsenter", "--target", str(holder.pid), "--net", *as_user)
    elif taken := [port for port in PORTS if is_taken(port)]:
        pytest.skip(f"port {taken[0]} is in use, and this user cannot make a loopback of its own")
    else:
        yield ()
    if holder:
        holder.kill()
        holder.communicate()


def is_taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def machine(state: Path, loopback: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A checkout in which everything is installed, its model too."""
    checkout = tmp_path_factory.mktemp("front_page") / "incv3d"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in ("daemon", "config", "systemd"):
        shutil.copytree(CHECKOUT / name, checkout / name, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(CHECKOUT / name, checkout / name)
    shutil.copytree(state, checkout / ".incv3d")
    (checkout / ".venv").mkdir()
    for each in Path(sys.prefix).iterdir():
        if not each.name.startswith("incv3d-stamp"):
            (checkout / ".venv" / each.name).symlink_to(each)
    shutil.copy(demo_folder() / "cat.jpg", checkout)
    # All is installed: what is left of preparing the environment is to note that.
    installed = "install_venv_module() { :; }; make_venv() { :; }; install_packages() { :; }"
    script = f'set -eu; . daemon/environment.sh; {installed}; prepare_environment "$PWD" http'
    subprocess.run(["sh", "-c", script], cwd=checkout, check=True, timeout=PATIENCE_S)
    return Machine(checkout, loopback, environment(checkout / ".incv3d"))


@pytest.fixture(scope="module")
def daemon(machine: Machine) -> Iterator[list[str]]:
    """The daemon as the front page starts it, and what it logs until it is warm."""
    process = machine.start(*shlex.split(START), stderr=subprocess.PIPE)
    said: list[str] = []
    assert process.stderr
    for line in process.stderr:
        said.append(line.rstrip("\n"))
        if all(any(words in each for each in said) for words in ("READY", "source demo: ok")):
            break
    assert process.poll() is None, "\n".join(said)
    yield said
    process.send_signal(signal.SIGINT)  # Ctrl-C
    rest = process.communicate(timeout=PATIENCE_S)[1]
    assert process.returncode == 0, rest


def shown_below(command: str) -> str:
    """What the front page shows below `command`."""
    fence = next(fence for fence, typed in TYPED if typed == command)
    return fence.text.partition(f"$ {command}\n")[2]


def test_every_command_is_run_here_or_is_known_not_to_be() -> None:
    typed = [command for _, command in TYPED]
    assert set(NOT_RUN) <= set(typed), "it is no longer on the front page"
    assert set(typed) - set(NOT_RUN) == {
        START,
        ".venv/bin/incv3d send daemon/incv3d/images/demo",
        "tail -F .incv3d/latency.log",
        "curl --data-binary @cat.jpg 'http://127.0.0.1:8080/classify?top_k=1'",
    }


def test_the_daemon_says_what_the_front_page_shows(daemon: list[str]) -> None:
    shown = next(fence.text for fence in fences(FRONT_PAGE) if "READY" in fence.text).splitlines()
    words = [line.split()[1:4] for line in daemon]
    for line in shown:
        assert line.split()[1:4] in words, line


def test_images_are_sent_and_get_the_labels_shown(machine: Machine, daemon: list[str]) -> None:
    command = ".venv/bin/incv3d send daemon/incv3d/images/demo"
    answers = r"^(\w+\.jpg): (.+) (0\.\d+) \("
    wanted = re.findall(answers, shown_below(command), re.MULTILINE)
    found = re.findall(answers, machine.run(*shlex.split(command)), re.MULTILINE)
    assert len(wanted) == 4 and [each[:2] for each in found] == [each[:2] for each in wanted]
    for (name, _, score), (_, _, shown) in zip(found, wanted, strict=True):
        assert abs(float(score) - float(shown)) < SCORE_DIFFERS, name


def test_the_latency_log_has_the_fields_shown(machine: Machine, daemon: list[str]) -> None:
    command = "tail -F .incv3d/latency.log"
    shown = [re.findall(r"(\w+)=", line) for line in shown_below(command).splitlines()]
    tail = machine.start(*shlex.split(command), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert tail.stdout
    lines = [re.findall(r"(\w+)=", tail.stdout.readline()) for _ in shown]
    tail.kill()
    tail.communicate()
    assert lines == shown
    assert {field for line in lines for field in line} - {"event"} <= codes(LATENCY_LOG)


@pytest.mark.parametrize("snippet", SNIPPETS, ids=str)
def test_python_snippets_run(snippet: Fence, machine: Machine, daemon: list[str]) -> None:
    said = machine.run(".venv/bin/python", "-c", snippet.text).strip()
    assert said == "Egyptian cat" or json.loads(said)["predictions"][0]["label"] == "Egyptian cat"


def test_curl_classifies(machine: Machine, daemon: list[str]) -> None:
    if not shutil.which("curl"):
        pytest.skip("needs curl: apt-get install curl")
    command = next(typed for _, typed in TYPED if typed.startswith("curl"))
    answer, shown = json.loads(machine.run(*shlex.split(command))), json.loads(shown_below(command))
    assert answer.keys() == shown.keys()
    assert answer["predictions"][0].keys() == shown["predictions"][0].keys()
    assert answer["predictions"][0]["label"] == shown["predictions"][0]["label"]


def test_every_metric_of_a_running_daemon_is_explained(machine: Machine, daemon: list[str]) -> None:
    program = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/metrics').read().decode())"
    text = machine.run(sys.executable, "-c", program)
    names = set(re.findall(r"^# TYPE (incv3d_\w+)", text, re.MULTILINE))
    said = {code for code in codes(HTTP) if code.startswith("incv3d_")}
    of_a_pi = {name for name in said if "throttled" in name or "temperature" in name}
    assert names | of_a_pi == said


@pytest.mark.parametrize("operation", ["ping", "info", "stats"])
def test_every_field_of_an_answer_is_explained(machine: Machine, daemon: list[str], operation: str) -> None:
    program = (
        "import json; from incv3d.client import Client\n"
        f"with Client() as client: print(json.dumps(client.ask('{operation}')))"
    )
    answer = json.loads(machine.run(sys.executable, "-c", program))
    said = set(re.findall(r"`(\w+)`", section(PROTOCOL, "ping, stats, info")))
    assert answer.keys() - {"v", "id", "status", "op"} <= said


def test_the_recipe_for_an_old_pi_sends_what_its_camera_sees(
    machine: Machine, daemon: list[str], tmp_path: Path
) -> None:
    """The camera alone is a double: the library drives the firmware of a Pi, and nothing else."""
    page = CHECKOUT / "config" / "cameras.md"
    recipe = next(fence.text for fence in fences(page) if "import picamera" in fence.text)
    assert recipe.count("tcp://pi4.local:5555") == 1
    (tmp_path / "sender.py").write_text(recipe.replace("pi4.local", "127.0.0.1"))
    (tmp_path / "picamera.py").write_text(
        "class PiCamera:\n"
        "    def __init__(self, resolution): assert resolution == (640, 480)\n"
        "    def __enter__(self): return self\n"
        "    def __exit__(self, *error): pass\n"
        "    def capture_continuous(self, output, format, use_video_port):\n"
        "        assert format == 'jpeg' and use_video_port\n"
        "        for data in (open('cat.jpg', 'rb').read(), b'damaged', open('cat.jpg', 'rb').read()):\n"
        "            assert output.tell() == 0 and not output.getvalue()\n"
        "            output.write(data)\n"
        "            yield output\n"
    )
    said = machine.run(sys.executable, str(tmp_path / "sender.py")).splitlines()
    assert [line.startswith("Egyptian cat 0.") for line in said] == [True, False, True]
