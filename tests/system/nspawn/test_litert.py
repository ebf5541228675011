"""An installation without TensorFlow, on bare machines; the tests of a machine go on from each other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from containers import Container, booted
from releases import VERSION, replace, running_release

from waiting import until

pytestmark = pytest.mark.xdist_group("nspawn")
INSTALL = ("/src/systemd/install", "--wheels", "/wheels")
COFFEE = "/src/daemon/incv3d/images/demo/coffee.jpg"
PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
"""The releases of Debian that are supported, and their Pythons."""
LARGEST_MB = 350
NOISE = """
import os
from PIL import Image
os.makedirs("/var/tmp/noise")
for number in range(12):
    Image.frombytes("RGB", (64, 64), os.urandom(64 * 64 * 3)).save(f"/var/tmp/noise/{number}.png")
"""


@pytest.fixture(scope="module", params=list(PYTHONS))
def machine(
    request: pytest.FixtureRequest,
    debian_of: Callable[[str], Path],
    litert_wheels: Callable[[str], Path],
    source: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Container]:
    """A freshly booted machine with the checkout in /src, and in /wheels what LiteRT takes."""
    binds = {"/src": source, "/wheels": litert_wheels(PYTHONS[request.param])}
    folder = tmp_path_factory.mktemp(request.param)
    with booted(f"incv3d-{request.param}", debian_of(request.param), folder, binds) as container:
        yield container


def restarts(machine: Container) -> tuple[int, str]:
    """Return how often systemd has restarted the service, and how long it waits before it does so again."""
    shown = machine.run("systemctl", "show", "incv3d", "-p", "NRestarts", "-p", "RestartUSecNext")
    facts = dict(line.split("=", 1) for line in shown.splitlines())
    return int(facts["NRestarts"]), facts.get("RestartUSecNext", "")


def has_tensorflow(machine: Container) -> bool:
    found = machine.run("sh", "-c", "ls -d /opt/incv3d/current/lib/python3*/site-packages/tensorflow || true")
    return "cannot access" not in found


def used_mb(machine: Container, folder: str) -> int:
    return int(machine.run("du", "--summarize", "--block-size=1M", folder).split()[0])


def is_served(machine: Container) -> bool:
    said = machine.run("incv3d", "classify", "--connect", "tcp://127.0.0.1:5555", COFFEE)
    return "espresso" in said and machine.run("systemctl", "is-active", "incv3d") == "active"


def test_it_serves_and_is_small(machine: Container) -> None:
    said = machine.run(*INSTALL, "--engine", "litert")
    assert "incv3d: installed:" in said and "no problems" in said, said
    assert is_served(machine) and not has_tensorflow(machine)
    assert "on litert float32" in machine.run("systemctl", "show", "incv3d", "-p", "StatusText")
    programs_mb, model_mb = used_mb(machine, "/opt/incv3d"), used_mb(machine, "/var/lib/incv3d")
    print(f"nspawn: without TensorFlow: programs {programs_mb} MB, the model {model_mb} MB")
    assert programs_mb <= LARGEST_MB, machine.run("du", "-d5", "-m", "/opt/incv3d")


def test_each_restart_waits_longer_than_the_one_before(machine: Container) -> None:
    if restarts(machine) == (0, ""):  # systemd before 254
        assert machine.run("systemctl", "show", "incv3d", "-p", "RestartUSec", "--value") == "5s"
        return
    assert restarts(machine) == (0, "5s")
    for number in (1, 2):
        machine.run("systemctl", "kill", "--signal=KILL", "incv3d")
        until(lambda number=number: restarts(machine)[0] == number, "a restart")
        until(lambda: machine.run("systemctl", "is-active", "incv3d", check=False) == "active", "a start")
    assert restarts(machine)[1].startswith("19."), "six restarts lead from 5 to 300 s"
    machine.run("systemctl", "restart", "incv3d")
    assert restarts(machine) == (0, "5s")


def test_it_converts_to_int8(machine: Container) -> None:
    """With the quantizer, but without SciPy, which the quantizer requires for what is not used."""
    machine.run("/opt/incv3d/current/bin/python", "-c", NOISE)
    words = ("--to", "int8", "--pictures", "/var/tmp/noise", "--min-agreement", "0")
    said = machine.run("incv3d", "model", "convert", "efficientnet-lite0", *words)
    assert "\nkept: " in said, said
    found = machine.run("sh", "-c", "ls /opt/incv3d/current/lib/python3*/site-packages")
    assert "ai_edge_quantizer" in found and "scipy" not in found
    machine.run("incv3d", "model", "remove", "efficientnet-lite0", "--conversion", "int8")


def test_info_says_that_tensorflow_is_not_installed(machine: Container) -> None:
    facts = json.loads(machine.run("incv3d", "info", "--json"))
    assert facts["tensorflow"] == "not installed" and facts["litert"][0].isdigit()


def test_a_configuration_that_needs_tensorflow_is_a_mistake_with_its_correction(machine: Container) -> None:
    machine.run(
        "sh", "-c", "sed 's|^  engine: auto|  engine: tensorflow|' /etc/incv3d/incv3d.yaml >/tmp/x.yaml"
    )
    said = machine.run("incv3d", "check-config", "/tmp/x.yaml", check=False)
    assert "session.engine" in said and "-m pip install tensorflow" in said and "Traceback" not in said, said
    assert len(said.splitlines()) == 1, said


def test_an_upgrade_keeps_the_choice(machine: Container, source: Path) -> None:
    before = running_release(machine)
    replace(source / VERSION, '__version__ = "', '__version__ = "9')
    said = machine.run("/src/systemd/upgrade", "--wheels", "/wheels")
    replace(source / VERSION, '__version__ = "9', '__version__ = "')
    assert "without TensorFlow" in said and running_release(machine) != before
    assert is_served(machine) and not has_tensorflow(machine)
