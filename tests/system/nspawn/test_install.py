"""From a bare Debian to a running service with one command, and back; the tests go on from each other."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from containers import Container
from releases import VERSION, make_release, replace, running_release

pytestmark = pytest.mark.xdist_group("nspawn")
INSTALL = ("/src/systemd/install", "--wheels", "/wheels")
UPGRADE = ("/src/systemd/upgrade", "--wheels", "/wheels")
PLACES = "/opt/incv3d /etc/incv3d /var/lib/incv3d /var/log/incv3d /usr/local/bin/incv3d"


def timed(what: str, machine: Container, *command: str) -> str:
    started = time.monotonic()
    said = machine.run(*command)
    print(f"nspawn: {what}: {time.monotonic() - started:.1f} s")
    return said


def test_a_dry_run_does_nothing(machine: Container) -> None:
    said = machine.run(*INSTALL, "--dry-run")
    assert "nothing was done" in said
    assert machine.run("sh", "-c", f"ls -d {PLACES} 2>/dev/null", check=False) == ""


def test_one_command_installs_and_starts_a_service_that_is_ready(machine: Container) -> None:
    said = timed("install", machine, *INSTALL)
    assert "incv3d: installed:" in said, said
    assert machine.run("systemctl", "is-active", "incv3d") == "active"
    assert machine.run("systemctl", "is-enabled", "incv3d") == "enabled"
    assert "event=start" in machine.run("cat", "/var/log/incv3d/latency.log")


def test_a_picture_is_classified_by_a_user_who_types_the_obvious(machine: Container) -> None:
    picture = "/src/daemon/incv3d/images/demo/coffee.jpg"
    said = machine.run("incv3d", "classify", "--connect", "tcp://127.0.0.1:5555", picture)
    assert "espresso" in said


def test_installing_again_changes_nothing(machine: Container) -> None:
    before = machine.run("systemctl", "show", "incv3d", "-p", "MainPID")
    machine.run("sh", "-c", "echo '# mine' >>/etc/incv3d/incv3d.yaml")
    timed("install again", machine, *INSTALL)
    assert machine.run("systemctl", "show", "incv3d", "-p", "MainPID") == before
    assert machine.run("tail", "-1", "/etc/incv3d/incv3d.yaml") == "# mine"


def test_it_comes_up_by_itself_after_a_reboot(machine: Container) -> None:
    machine.power_off()
    print(f"nspawn: boot: {machine.boot():.1f} s")
    machine.run("systemctl", "start", "incv3d")  # waits for the start that is under way
    assert "espresso" in machine.run(
        "incv3d",
        "classify",
        "--connect",
        "tcp://127.0.0.1:5555",
        "/src/daemon/incv3d/images/demo/coffee.jpg",
    )


def test_an_upgrade_whose_configuration_does_not_do_touches_nothing(machine: Container, source: Path) -> None:
    before = running_release(machine)
    machine.run("cp", "/etc/incv3d/incv3d.yaml", "/root/mine.yaml")
    machine.run("sh", "-c", "echo 'modell: {}' >>/etc/incv3d/incv3d.yaml")
    replace(source / VERSION, '__version__ = "', '__version__ = "9')
    said = machine.run(*UPGRADE, check=False)
    machine.run("cp", "/root/mine.yaml", "/etc/incv3d/incv3d.yaml")
    assert "modell: unknown key" in said and "the running version is unchanged" in said, said
    assert running_release(machine) == before
    assert machine.run("systemctl", "is-active", "incv3d") == "active"


def test_an_upgrade_that_fails_its_golden_check_is_taken_back(machine: Container, source: Path) -> None:
    before = running_release(machine)
    classifier = source / "daemon/incv3d/pipeline/classifier.py"
    ended = "            ended = self._clock()\n"
    replace(classifier, ended, f"            scores = -scores\n{ended}")
    make_release(machine, "/src")
    said = machine.run(*UPGRADE, check=False)
    replace(classifier, f"            scores = -scores\n{ended}", ended)
    assert "failed the golden check" in said and "rolling it back" in said, said
    assert running_release(machine) == before
    assert machine.run("systemctl", "is-active", "incv3d") == "active"


def test_an_upgrade_that_does_not_become_ready_is_taken_back(machine: Container, source: Path) -> None:
    before = running_release(machine)
    daemon = source / "daemon/incv3d/app/daemon.py"
    replace(daemon, "            self._start()\n", '            raise Incv3dError("spoiled")\n')
    make_release(machine, "/src")
    said = machine.run(*UPGRADE, check=False)
    replace(daemon, '            raise Incv3dError("spoiled")\n', "            self._start()\n")
    assert "rolling it back" in said, said
    assert running_release(machine) == before
    assert machine.run("systemctl", "is-active", "incv3d") == "active"


def test_an_upgrade_replaces_the_release(machine: Container) -> None:
    before = running_release(machine)
    timed("upgrade", machine, *UPGRADE)
    after = running_release(machine)
    assert after != before and machine.run("ls", "/opt/incv3d/releases") == Path(after).name
    assert machine.run("systemctl", "is-active", "incv3d") == "active"


def test_uninstalling_keeps_what_is_the_users_and_purging_leaves_nothing(machine: Container) -> None:
    timed("uninstall", machine, "/src/systemd/uninstall")
    assert machine.run("ls", "/etc/incv3d") and machine.run("ls", "/var/lib/incv3d/models")
    timed("purge", machine, "/src/systemd/uninstall", "--purge")
    found = machine.run(
        "find", "/", "-xdev", "-name", "*incv3d*", "-not", "-path", "/src*", "-not", "-path", "/wheels*"
    )
    assert found == "", found
    assert machine.run("getent", "passwd", "incv3d", check=False) == ""


def test_an_installed_package_installs_the_service_and_removes_it(machine: Container) -> None:
    packages = "--quiet --no-index --find-links /wheels --no-deps /tmp/src click msgspec"
    machine.run(
        "sh", "-euc", f"cp -r /src /tmp/src; python3 -m venv /tmp/venv; /tmp/venv/bin/pip install {packages}"
    )
    machine.run("rm", "-r", "/tmp/src")
    said = timed(
        "service install", machine, "/tmp/venv/bin/incv3d", "service", "install", "--wheels", "/wheels"
    )
    assert "incv3d: installed:" in said, said
    assert machine.run("systemctl", "is-active", "incv3d") == "active"
    machine.run("rm", "-r", "/tmp/venv")
    machine.run("incv3d", "service", "uninstall", "--purge")
    assert machine.run("sh", "-c", f"ls -d {PLACES} 2>/dev/null", check=False) == ""
