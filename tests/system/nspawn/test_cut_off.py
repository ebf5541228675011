"""Installations that are cut off, taken back, or of another model; the tests go on from each other.

The next version is the installed one under another number, with another unit. Its release is there before it
is installed, so that an upgrade takes seconds. At the same time it gets another model from a file, in place
of one of the same name.
"""

from __future__ import annotations

import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from containers import Container, booted
from releases import VERSION, make_release, replace, running_release

from graphs import strongest_channel

pytestmark = pytest.mark.xdist_group("nspawn")
WHEELS = ("--wheels", "/wheels", "--no-camera")
UNIT = "/etc/systemd/system/incv3d.service"
CONFIGURATION = "/etc/incv3d/incv3d.yaml"
DOOR = "tcp://127.0.0.1:5555"
COFFEE = "/src/daemon/incv3d/images/demo/coffee.jpg"
MODEL = "efficientnet-lite0"
CONFIGURED = "/home/somebody/new/colours.pb"
"""Another model under the name of the one that runs."""
OTHER = "/home/somebody/new/shades.pb"
"""Another model under the name of one that is in the store, and does not run."""
BY_NAME = "shades"
LABELS = {"old": b"red\ngreen\nblue\n", "new": b"scarlet\nlime\nnavy\n"}
SOON_S = 120.0
IMPORTING = ("importing ", "imported ")
STEPS = (
    "release ",
    "configuration: ",
    *IMPORTING,
    "setting the configured model",
    f"{CONFIGURATION}: ok",
    "/opt/incv3d/current is now",
    "installing the unit",
    "preparing the model",
    "starting the service",
)
"""What an upgrade says, in order, before each of its steps."""


@pytest.fixture(scope="module")
def machine(
    debian: Path, wheels: Path, source: Path, releases: Path, tmp_path_factory
) -> Iterator[Container]:
    """A machine with the service, installed by somebody whose files nobody else may read."""
    following = tmp_path_factory.mktemp("next") / "src"
    shutil.copytree(source, following)
    replace(following / VERSION, '__version__ = "', '__version__ = "9')
    replace(following / "systemd/incv3d.service", "Nice=5", "Nice=6")
    folder = tmp_path_factory.mktemp("machine")
    binds = {"/src": source, "/next": following, "/wheels": wheels}
    with booted("incv3d-cut", debian, folder, binds, {"/opt/incv3d/releases": releases}) as container:
        make_release(container, "/src")
        write_models(container)
        command = 'umask 077; exec "$@"'
        model = "/home/somebody/old/colours.pb"
        container.run("sh", "-c", command, "sh", "/src/systemd/install", *WHEELS, "--model", model)
        container.run("sh", "-c", "cp -r /home/somebody/old /opt/ && chmod -R a+rX /opt/old")
        container.run("incv3d", "model", "import", "/opt/old/shades.pb")
        make_release(container, "/next")
        yield container


def write_models(machine: Container) -> None:
    """Write models of two names, old and new, to a home that is closed to others."""
    machine.run("install", "-d", "-m", "700", "/home/somebody")
    for age, side in (("old", 96), ("new", 64)):
        graph = strongest_channel(side)
        for name, content in (("colours.pb", graph), ("shades.pb", graph), ("labels.txt", LABELS[age])):
            path = f"/home/somebody/{age}/{name}"
            machine.run("sh", "-c", "umask 077; mkdir -p ${1%/*} && cat >$1", "sh", path, stdin=content)


def main_pid(machine: Container) -> str:
    return machine.run("systemctl", "show", "incv3d", "-p", "MainPID", "--value")


def state(machine: Container) -> str:
    return machine.run("systemctl", "show", "incv3d", "-p", "ActiveState", "--value")


def info(machine: Container) -> dict[str, str]:
    """What the running daemon says of itself; nothing while it does not run."""
    said = machine.run("incv3d", "info", "--connect", DOOR, "--timeout", "2", check=False)
    facts = dict(re.findall(r"^(version|model): (.+)$", said, re.MULTILINE))
    if facts:
        answer = machine.run("incv3d", "classify", "--connect", DOOR, COFFEE, check=False)
        facts["labels"] = ", ".join(sorted(re.findall(r"^  +[0-9.]+  ([a-z]+)$", answer, re.MULTILINE)))
    return facts


def in_force(machine: Container) -> dict[str, str]:
    """What an installation changes."""
    return {
        "release": running_release(machine),
        "unit": machine.run("cat", UNIT),
        "configuration": machine.run("cat", CONFIGURATION),
        "models": machine.run("sh", "-c", _DIGESTS),
        **info(machine),
    }


_DIGESTS = """
cd /var/lib/incv3d/models
find . -type f ! -name .lock ! -name .making ! -path "./.unfinished-*" -exec sha256sum {} + | sort
find . ! -user incv3d
"""


def wait_until(so: Callable[[], bool], what: Callable[[], object]) -> None:
    deadline = time.monotonic() + SOON_S
    while not so():
        assert time.monotonic() < deadline, what()
        time.sleep(0.2)


def is_settled(machine: Container) -> bool:
    return not machine.path("/opt/incv3d/undo").exists()


def stays(machine: Container, before: dict[str, str]) -> None:
    """Wait until everything is as it was `before`, with nothing left to do."""
    wait_until(
        lambda: is_settled(machine) and state(machine) == "active" and in_force(machine) == before,
        lambda: (in_force(machine), machine.run("journalctl", "-n", "40", "--no-pager")),
    )


class Upgrade:
    """An upgrade to the next version and another model, in a session of its own, as over ssh."""

    def __init__(self, machine: Container, model: str = OTHER) -> None:
        self._machine = machine
        command = 'echo $$; exec /next/systemd/upgrade "$@" 2>&1'
        self.process = machine.start(
            "env", "--default-signal=HUP", "setsid", "sh", "-c", command, "sh", *WHEELS, "--model", model
        )
        self._pid = self._line()
        self.said: list[str] = []

    def until(self, words: str) -> None:
        while not any(words in line for line in self.said):
            line = self._line()
            assert line, f"{words!r} was not said: {self.said}"
            self.said.append(line)

    def signal(self, number: int, whom: str) -> None:
        target = self._pid if whom == "installer" else f"-{self._pid}"
        self._machine.run("kill", f"-{number}", "--", target)

    def end(self) -> int:
        with self.process:
            assert self.process.stdout
            self.said += self.process.stdout.read().decode().splitlines()
        return self.process.returncode

    def _line(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().decode().rstrip("\n")


@pytest.fixture(scope="module")
def before(machine: Container) -> dict[str, str]:
    """What was installed first, and stays in force until a test installs something to its end."""
    return in_force(machine)


@pytest.mark.parametrize("step", STEPS)
def test_a_lost_connection_leaves_the_old_version_running(
    machine: Container, before: dict[str, str], step: str
) -> None:
    upgrade = Upgrade(machine)
    upgrade.until(step)
    upgrade.signal(signal.SIGHUP, "all that the terminal has")
    assert upgrade.end() != 0
    stays(machine, before)


@pytest.mark.parametrize(
    ("step", "model"),
    [*((step, BY_NAME) for step in STEPS if step not in IMPORTING), *((step, OTHER) for step in IMPORTING)],
)
def test_a_killed_installer_leaves_the_old_version_running(
    machine: Container, before: dict[str, str], step: str, model: str
) -> None:
    upgrade = Upgrade(machine, model)
    upgrade.until(step)
    upgrade.signal(signal.SIGKILL, "installer")
    stays(machine, before)
    upgrade.end()


@pytest.mark.parametrize("after_s", [0.02, 0.05, 0.1, 0.2, 0.4])
def test_a_killed_installer_does_not_leave_the_service_stopped(
    machine: Container, before: dict[str, str], after_s: float
) -> None:
    upgrade = Upgrade(machine, BY_NAME)
    upgrade.until("preparing the model")  # before that it stops the service
    time.sleep(after_s)
    upgrade.signal(signal.SIGKILL, "installer")
    stays(machine, before)
    upgrade.end()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_cut_off_while_the_new_version_starts_the_old_one_runs_again(
    machine: Container, before: dict[str, str], number: signal.Signals
) -> None:
    upgrade = Upgrade(machine, CONFIGURED)
    upgrade.until("starting the service")
    wait_until(lambda: state(machine) == "activating", lambda: state(machine))
    upgrade.signal(number, "all that the terminal has")
    upgrade.end()
    stays(machine, before)


def test_a_reader_that_leaves_ends_nothing_half_done(machine: Container, before: dict[str, str]) -> None:
    machine.run("sh", "-c", f"/next/systemd/upgrade {' '.join(WHEELS)} --model {OTHER} 2>&1 | head -n 4")
    stays(machine, before)


@pytest.mark.parametrize(
    ("step", "model"), [*((step, OTHER) for step in STEPS[2:]), ("starting the service", CONFIGURED)]
)
def test_after_a_power_cut_the_old_version_starts(
    machine: Container, before: dict[str, str], step: str, model: str
) -> None:
    upgrade = Upgrade(machine, model)
    upgrade.until(step)
    machine.cut_power()
    upgrade.end()
    machine.boot()
    machine.run("systemctl", "start", "incv3d")
    assert in_force(machine) == before
    assert is_settled(machine)


def test_a_second_installer_says_that_another_is_at_work(machine: Container, before: dict[str, str]) -> None:
    holder = machine.start("flock", "/opt/incv3d/lock", "sh", "-c", "echo held; cat")
    assert holder.stdout and holder.stdout.readline() == b"held\n"
    for command in ("upgrade", "uninstall"):
        said = machine.run(f"/src/systemd/{command}", check=False)
        assert "another installation is running" in said, said
    holder.communicate()  # which ends it
    assert in_force(machine) == before


def test_a_version_that_does_not_become_ready_takes_model_and_unit_back_too(
    machine: Container, before: dict[str, str]
) -> None:
    machine.run("mkdir", "-p", f"{UNIT}.d")
    # Fails the new release alone.
    lines = '[Service]\\nExecStartPre=sh -c "! grep -q Nice=6 /etc/systemd/system/incv3d.service"\\n'
    machine.run("sh", "-c", f"printf '{lines}' >{UNIT}.d/override.conf")
    for model in (CONFIGURED, OTHER):
        said = machine.run("/next/systemd/upgrade", *WHEELS, "--model", model, check=False)
        assert "rolling it back" in said and "keeps running" in said, said
        stays(machine, before)
        make_release(machine, "/next")  # what was taken back was removed
    machine.run("rm", "-r", f"{UNIT}.d")
    machine.run("systemctl", "daemon-reload")


def test_a_file_that_is_no_model_changes_nothing(machine: Container, before: dict[str, str]) -> None:
    pid = main_pid(machine)
    machine.run("sh", "-c", "echo nonsense >/root/nonsense.pb")
    for model, words in (("/root/nonsense.pb", "cannot be imported"), ("/root/nothing.pb", "no such file")):
        said = machine.run("/src/systemd/install", *WHEELS, "--model", model, check=False)
        assert words in said, said
    stays(machine, before)
    assert main_pid(machine) == pid


def test_a_model_from_a_closed_home_runs_on_the_same_version(machine: Container) -> None:
    before = in_force(machine)
    said = machine.run("/src/systemd/install", *WHEELS, "--model", OTHER)
    after = in_force(machine)
    assert after["release"] == before["release"], said
    assert after["model"] == "shades" and "  name: shades" in after["configuration"], said
    assert after["labels"] == "lime, navy, scarlet", after


def test_a_model_by_name_runs_on_the_same_version(machine: Container) -> None:
    machine.run("/src/systemd/install", *WHEELS, "--model", MODEL)
    assert in_force(machine)["model"] == MODEL


def test_an_upgrade_that_nothing_cuts_off_changes_all_of_it(machine: Container) -> None:
    make_release(machine, "/next")  # what was not wanted was removed
    before = in_force(machine)
    assert before["model"] == MODEL and ".installing" not in before["models"]
    upgrade = Upgrade(machine, CONFIGURED)
    assert upgrade.end() == 0, upgrade.said
    after = in_force(machine)
    assert (after["model"], after["labels"]) == ("colours", "lime, navy, scarlet")
    assert ".installing" not in after["models"] and ".unfinished" not in machine.run(
        "ls", "-A", "/var/lib/incv3d/models"
    )
    assert after["release"] != before["release"] and after["version"] == f"9{before['version']}"
    assert "Nice=6" in after["unit"]
    assert machine.run("ls", "/opt/incv3d/releases") == Path(after["release"]).name


def test_uninstalling_keeps_what_was_edited(machine: Container) -> None:
    machine.run("mkdir", f"{UNIT}.d")
    machine.run("sh", "-c", f"printf '[Service]\\nNice=7\\n' >{UNIT}.d/override.conf")
    said = machine.run("/next/systemd/uninstall")
    assert f"kept: {UNIT}.d" in said, said
    assert "Nice=7" in machine.run("cat", f"{UNIT}.d/override.conf")
    machine.run("/next/systemd/uninstall", "--purge")
    assert machine.run("sh", "-c", f"ls -d {UNIT}* /opt/incv3d", check=False).count("No such file") == 2
