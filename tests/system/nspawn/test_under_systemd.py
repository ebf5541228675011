"""The service through what a machine in a shed goes through, under a real systemd; each step prints its time.

The installed classifier is spoiled so that its runs hang while a certain file is there.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from containers import Container, booted
from PIL import Image
from releases import make_release, replace

from graphs import strongest_channel

pytestmark = pytest.mark.xdist_group("nspawn")
CONFIGURATION = "/etc/incv3d/incv3d.yaml"
COFFEE = "/src/daemon/incv3d/images/demo/coffee.jpg"
DOOR = "tcp://127.0.0.1:5555"
HANG = "/run/incv3d/hang"
RUN = "\n            scores, features = self.session.run_with_features("
SPOILED = f"""
            import os
            while os.path.exists("{HANG}"):
                time.sleep(0.1){RUN}"""
WATCHDOG_S = 9
LARGE_PICTURE = (6900, 6900)
"""Pixels of a progressive JPEG, whose decoder holds all coefficients: 140 MB."""
SOON_S = 120.0


class Service:
    """The installed service, with a watchdog that bites soon."""

    def __init__(self, machine: Container) -> None:
        self.machine = machine

    def show(self, name: str) -> str:
        return self.machine.run("systemctl", "show", "incv3d", "-p", name, "--value")

    def classify(self, picture: str = COFFEE) -> str:
        return self.machine.run("incv3d", "classify", "--connect", DOOR, picture, check=False)

    def info(self) -> str:
        return self.machine.run("incv3d", "info", "--connect", DOOR, check=False)

    def journal(self, *words: str) -> str:
        return self.machine.run("journalctl", "-u", "incv3d", "-o", "cat", "--no-pager", *words)

    def reload(self, *settings: str) -> str:
        """Change keys, ``queue_limit: 3``, each in the first section that has it, and have them read.

        :returns: what systemctl said.
        """
        for setting in settings:
            key = setting.split(":")[0]
            self.machine.run("sed", "-i", f"0,/^  {key}: / s|^  {key}: .*|  {setting}|", CONFIGURATION)
        return self.machine.run("systemctl", "reload", "incv3d", check=False)

    def drop_in(self, name: str, *lines: str) -> None:
        folder = self.machine.path("/etc/systemd/system/incv3d.service.d")
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.conf").write_text("\n".join(["[Service]", *lines, ""]))
        self.machine.run("systemctl", "daemon-reload")

    def back_after(self, what: str, pid: str, since: float) -> str:
        """Wait until another process than `pid` is ready; returns why systemd started it.

        :param since: when the trouble began (monotonic).
        """
        self.wait_until(
            lambda: self.show("MainPID") not in ("0", pid) and self.show("ActiveState") == "active", what
        )
        print(f"nspawn: {what}: back after {time.monotonic() - since:.1f} s")
        assert "espresso" in self.classify()
        return self.journal("--grep", "Main process exited|Watchdog timeout")

    def wait_until(self, so: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + SOON_S
        while not so():
            assert time.monotonic() < deadline, f"{what}: not within {SOON_S:g} s\n{self.journal('-n', '30')}"
            time.sleep(0.1)


@pytest.fixture(scope="module")
def installed(
    debian: Path, wheels: Path, source: Path, releases: Path, tmp_path_factory
) -> Iterator[Container]:
    """A machine on which the spoiled service runs."""
    folder = tmp_path_factory.mktemp("machine")
    spoiled = tmp_path_factory.mktemp("spoiled") / "src"
    shutil.copytree(source, spoiled)
    replace(spoiled / "daemon/incv3d/pipeline/classifier.py", RUN, SPOILED)
    Image.new("RGB", LARGE_PICTURE, "red").save(spoiled / "large.jpg", progressive=True)
    binds = {"/src": spoiled, "/wheels": wheels}
    with booted("incv3d-unit", debian, folder, binds, {"/opt/incv3d/releases": releases}) as machine:
        make_release(machine, "/src")
        machine.run("/src/systemd/install", "--wheels", "/wheels", "--no-camera", "--no-start")
        yield machine


@pytest.fixture
def service(installed: Container) -> Iterator[Service]:
    """The service, started, with its configuration as installed."""
    service = Service(installed)
    installed.run("cp", CONFIGURATION, "/root/mine.yaml")
    service.drop_in("test", f"WatchdogSec={WATCHDOG_S}", "RestartSec=100ms")
    started = time.monotonic()
    installed.run("systemctl", "start", "incv3d")
    print(f"nspawn: start: {time.monotonic() - started:.1f} s")
    yield service
    installed.run("rm", "-f", HANG, "-r", "/etc/systemd/system/incv3d.service.d")
    installed.run("cp", "/root/mine.yaml", CONFIGURATION)
    installed.run("systemctl", "stop", "incv3d")
    installed.run("systemctl", "daemon-reload")


def test_it_is_locked_down_and_says_in_one_line_how_it_is(service: Service) -> None:
    said = service.machine.run("systemd-analyze", "security", "incv3d", "--no-pager")
    exposure = re.search(r"Overall exposure level for incv3d.service: ([0-9.]+)", said)
    assert exposure and float(exposure[1]) <= 1.5, said
    print(f"nspawn: {exposure[0]}")
    assert re.fullmatch(
        r"efficientnet-lite0 on tensorflow float32, [0-9.]+ fps.*", service.show("StatusText")
    )
    print(
        f"nspawn: status: {service.show('StatusText')}; memory {int(service.show('MemoryCurrent')) >> 20} MiB"
    )
    assert "espresso" in service.classify()
    assert "event=start" in service.machine.run("tail", "-n", "5", "/var/log/incv3d/latency.log")


def test_what_knows_cameras_is_loaded_before_it_starts(service: Service) -> None:
    """Only then DeviceAllow=char-video4linux holds for a camera that is plugged in later."""
    machine = service.machine
    machine.run("systemctl", "stop", "incv3d")
    recorder = "#!/bin/sh\necho $(cut -d' ' -f1 /proc/uptime) \"$@\" >>/run/modprobe\n"
    machine.run("mv", "/sbin/modprobe", "/sbin/modprobe.real")
    machine.run("sh", "-c", "cat >/sbin/modprobe && chmod +x /sbin/modprobe", stdin=recorder.encode())
    machine.run("systemctl", "start", "incv3d")
    machine.run("mv", "/sbin/modprobe.real", "/sbin/modprobe")
    loaded = [line.split() for line in machine.run("cat", "/run/modprobe").splitlines()]
    (loaded_s,) = [float(uptime_s) for uptime_s, *words in loaded if "videodev" in words]
    assert loaded_s < int(service.show("ExecMainStartTimestampMonotonic")) / 1e6 + 0.01


def test_what_it_says_has_its_level_in_the_journal(service: Service) -> None:
    assert "READY" in service.journal("-p", "6..6") and "<6>" not in service.journal()
    service.reload("queue_limit: 3", "bind: tcp://127.0.0.1:5999")
    service.wait_until(lambda: "intake.bind" in service.journal("-p", "4..4"), "a warning")


def test_it_lives_on_idle_for_longer_than_its_watchdog_waits(service: Service) -> None:
    pid = service.show("MainPID")
    time.sleep(2.5 * WATCHDOG_S)
    assert (service.show("MainPID"), service.show("NRestarts")) == (pid, "0"), service.journal("-n", "20")


def test_a_good_configuration_is_taken_and_a_bad_one_fails_the_reload(service: Service) -> None:
    pid = service.show("MainPID")
    started = time.monotonic()
    assert service.reload("top_k: 2") == ""
    service.wait_until(lambda: len(service.classify().splitlines()) == 3, "another top_k")
    print(f"nspawn: reload with another Session: {time.monotonic() - started:.1f} s")
    assert "failed" in service.reload("top_k: none")
    assert "model.top_k: must be a whole number" in service.journal("-n", "5")
    # Said to the daemon itself, it is refused as well.
    service.machine.run("kill", "-HUP", pid)
    service.wait_until(lambda: "the old one stays in force" in service.journal("-n", "5"), "a refusal")
    assert len(service.classify().splitlines()) == 3
    assert (service.show("MainPID"), service.show("ActiveState")) == (pid, "active")


def test_killed_it_comes_back(service: Service) -> None:
    pid = service.show("MainPID")
    since = time.monotonic()
    service.machine.run("kill", "-KILL", pid)
    assert "status=9/KILL" in service.back_after("SIGKILL", pid, since)


def test_stopped_it_is_killed_and_comes_back(service: Service) -> None:
    pid = service.show("MainPID")
    since = time.monotonic()
    service.machine.run("kill", "-STOP", pid)
    assert "Watchdog timeout" in service.back_after("SIGSTOP", pid, since)


def test_a_session_that_hangs_is_killed_says_where_it_was_and_comes_back(service: Service) -> None:
    service.reload("run_limit_s: 0.0")
    pid = service.show("MainPID")
    since = time.monotonic()
    service.machine.run("touch", HANG)
    service.wait_until(lambda: service.show("MainPID") != pid, "the end of a Session that hangs")
    service.machine.run("rm", "-f", HANG)
    assert "Watchdog timeout" in service.back_after("hung Session", pid, since)
    said = service.journal()
    assert "Fatal Python error: Aborted" in said and "classifier.py" in said


def test_a_session_that_hangs_ends_by_itself_sooner_than_its_watchdog_bites(service: Service) -> None:
    service.reload("run_limit_s: 2.0")
    pid = service.show("MainPID")
    since = time.monotonic()
    service.machine.run("touch", HANG)
    service.wait_until(lambda: service.show("MainPID") != pid, "the end of a Session that hangs")
    service.machine.run("rm", "-f", HANG)
    assert "status=70" in service.back_after("hung Session, run_limit_s", pid, since)


def test_grown_over_its_limit_it_drains_and_starts_anew(service: Service) -> None:
    pid = service.show("MainPID")
    since = time.monotonic()
    service.reload("memory_limit_mb: 1")
    service.wait_until(lambda: service.show("MainPID") != pid, "the end of a daemon that has grown")
    service.machine.run("cp", "/root/mine.yaml", CONFIGURATION)
    assert "status=75/TEMPFAIL" in service.back_after("grown memory", pid, since)
    assert "its memory has grown to" in service.journal("-p", "3..3")


def test_killed_for_its_memory_it_comes_back(service: Service) -> None:
    service.drop_in("memory", "MemoryMax=200M", "MemorySwapMax=0")
    service.machine.run("systemctl", "restart", "incv3d")
    pid = service.show("MainPID")
    since = time.monotonic()
    assert "espresso" not in service.classify("/src/large.jpg")
    assert "status=9/KILL" in service.back_after("MemoryMax", pid, since)


def test_a_full_disk_stops_nothing(service: Service) -> None:
    machine = service.machine
    machine.run("systemctl", "stop", "incv3d")
    machine.run("mount", "-t", "tmpfs", "-o", "size=64k,mode=777", "tmpfs", "/var/log/incv3d")
    machine.run("sh", "-c", "cat /dev/zero >/var/log/incv3d/full", check=False)
    machine.run("systemctl", "start", "incv3d")
    assert "espresso" in service.classify()
    assert "cannot be written (No space left on device)" in service.journal("-p", "4..4")
    machine.run("rm", "/var/log/incv3d/full")
    service.wait_until(lambda: "can be written again" in service.journal(), "the log to be written again")
    machine.run("systemctl", "stop", "incv3d")
    machine.run("umount", "/var/log/incv3d")


def test_models_that_cannot_be_written_to_are_run(service: Service) -> None:
    machine = service.machine
    machine.run("systemctl", "stop", "incv3d")
    machine.run("mount", "-o", "bind,ro", "/var/lib/incv3d", "/var/lib/incv3d")
    machine.run("systemctl", "start", "incv3d")
    assert "espresso" in service.classify()
    machine.run("systemctl", "stop", "incv3d")
    machine.run("umount", "/var/lib/incv3d")


def test_models_that_root_changes_are_the_services_own(service: Service) -> None:
    machine = service.machine
    machine.run("mkdir", "-p", "/tmp/served")
    for name, content in (("first.pb", strongest_channel(96)), ("labels.txt", b"red\ngreen\nblue\n")):
        machine.run("sh", "-c", "cat >/tmp/served/$1", "sh", name, stdin=content)
    assert "imported first: 3 outputs" in machine.run("incv3d", "model", "import", "/tmp/served/first.pb")
    serve = ("python3", "-m", "http.server", "-b", "127.0.0.1", "-d", "/tmp/served", "8099")
    machine.run("systemd-run", "--unit=served", *serve)
    url = "http://127.0.0.1:8099/first.pb"
    service.wait_until(
        lambda: (
            "fetched second" in machine.run("incv3d", "model", "fetch", "second", "--url", url, check=False)
        ),
        "a model from the server",
    )
    machine.run("systemctl", "stop", "served")
    said = machine.run("incv3d", "model", "fetch", "thrid", check=False)
    assert said.startswith("incv3d: ") and len(said.splitlines()) == 1, said
    for name in ("first", "second"):
        assert service.reload(f"name: {name}") == ""
        service.wait_until(lambda name=name: f"\nmodel: {name}\n" in service.info(), name)
        assert f"{name} is ready" in machine.run("incv3d", "model", "prepare")
        machine.run("incv3d", "classify", "--connect", DOOR, COFFEE)
    machine.run("incv3d", "model", "remove", "first")
    others = machine.run(
        "find", "/var/lib/incv3d", "(", "!", "-user", "incv3d", "-o", "!", "-group", "incv3d", ")"
    )
    assert others == "", others
    machine.run("install", "-m", "600", "/tmp/served/first.pb", "/root/closed.pb")
    said = machine.run("incv3d", "model", "import", "/root/closed.pb", check=False)
    assert (
        "the service's user `incv3d`" in said
        and "cannot read this file" in said
        and len(said.splitlines()) == 1
    )


def test_a_mistake_in_the_configuration_is_said_once_and_not_tried_again(service: Service) -> None:
    service.machine.run("systemctl", "stop", "incv3d")
    service.machine.run("sh", "-c", f"echo 'modell: {{}}' >>{CONFIGURATION}")
    assert "failed" in service.machine.run("systemctl", "start", "incv3d", check=False)
    assert (service.show("ActiveState"), service.show("NRestarts")) == ("failed", "0")
    assert "modell: unknown key" in service.journal("-n", "20")


def test_it_stops_within_its_grace_and_leaves_nothing_running(service: Service) -> None:
    started = time.monotonic()
    service.machine.run("systemctl", "stop", "incv3d")
    seconds = time.monotonic() - started
    print(f"nspawn: stop: {seconds:.1f} s")
    assert seconds < 10 and (service.show("Result"), service.show("ActiveState")) == ("success", "inactive")
    assert "frames=" in service.machine.run("tail", "-n", "1", "/var/log/incv3d/latency.log")
