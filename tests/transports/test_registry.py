"""Every transport of the configuration is implemented and documented; a fourth one needs one line."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from doubles import jpeg
from incv3d.client import Client
from incv3d.config.schema import Config
from incv3d.transports.base import Transport
from incv3d.transports.registry import TRANSPORTS
from processes import PATIENCE_S, ScriptedDaemon

ROOT = Path(__file__).resolve().parents[2]
TURNS_ON = ("bind", "host")
"""The keys of a section that give the address of a transport."""


def test_every_section_with_an_address_has_a_transport() -> None:
    sections = {field.name: field.type for field in msgspec.structs.fields(Config)}
    keys = {
        f"{name}.{key}" for name, section in sections.items() for key in TURNS_ON if hasattr(section, key)
    }
    assert keys == {transport.key for transport in TRANSPORTS}


@pytest.mark.parametrize("transport", TRANSPORTS, ids=lambda transport: transport.name)
def test_a_transport_has_a_folder_of_its_name_and_a_page_that_shows_how_to_turn_it_on(
    transport: type[Transport],
) -> None:
    assert transport.__module__ == f"incv3d.transports.{transport.name}.transport"
    section, key = transport.key.split(".")
    ways = (rf"{section}\.{key}\b", rf"{section}: *\{{[^}}]*\b{key}:", rf"{section}:\n( +.*\n)*? +{key}:")
    example = re.compile(rf"\b({'|'.join(ways)})")
    pages = [*ROOT.glob("*.md"), *ROOT.glob("config/*.md"), *ROOT.glob("daemon/docs/*.md")]
    assert any(example.search(page.read_text("utf-8")) for page in pages), f"no page names {transport.key}"


@pytest.mark.parametrize(
    "transport",
    # Not ZeroMQ, whose checks read the clients' keys with pyzmq, which every daemon has.
    [transport for transport in TRANSPORTS if transport.name != "zeromq"],
    ids=lambda transport: transport.name,
)
def test_a_transport_is_imported_without_its_libraries(transport: type[Transport]) -> None:
    code = f"import sys, {transport.__module__}\nprint({{*{list(transport.libraries)}}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


FOURTH = """
import socket, sys
from incv3d.transports import registry
from incv3d.transports.base import Transport

class Datagrams(Transport):
    name, key = "datagrams", "model.name"
    def __init__(self, context):
        self.address = context.environ["DATAGRAMS"]
    def open(self):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.connect(self.address)
    def start(self):
        self.socket.send(b"started")
    def ready(self):
        self.socket.send(b"ready")
    def deliver(self, result):
        self.socket.send(result.predictions[0].label.encode())
        return True
    def status(self):
        return {"datagrams": 1}
    def close(self, timeout_s, refusal, detail):
        self.socket.send(refusal.encode())
        self.socket.close()
        return True

registry.TRANSPORTS += (Datagrams,)
import scripted_daemon
scripted_daemon.main()
"""


@pytest.fixture
def datagrams(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "datagrams"))
        receiver.settimeout(PATIENCE_S)
        yield receiver


def test_a_fourth_transport_needs_its_class_and_a_line_of_the_registry(
    tmp_path: Path, datagrams: socket.socket
) -> None:
    (tmp_path / "fourth.py").write_text(FOURTH)
    (tmp_path / "incv3d.yaml").write_text("{}")

    class FourthDaemon(ScriptedDaemon):
        program = (str(tmp_path / "fourth.py"),)

    support = str(ROOT / "tests" / "support")
    extra = {"PYTHONPATH": support, "DATAGRAMS": str(tmp_path / "datagrams")}
    daemon = FourthDaemon(tmp_path, tmp_path, str(tmp_path / "incv3d.yaml"), **extra)
    try:
        daemon.ready()
        with Client(daemon.door, PATIENCE_S) as client:
            label = client.classify(jpeg()).predictions[0].label
            assert client.ask("stats")["datagrams"] == 1
        assert daemon.stop() == 0, daemon.said
    finally:
        daemon.kill()
    heard = [datagrams.recv(1000).decode() for _ in range(4)]
    assert heard == ["started", "ready", label, "shutting_down"]


def test_the_schema_of_a_transport_is_in_the_configuration_file() -> None:
    shipped = msgspec.yaml.decode((ROOT / "config" / "incv3d.yaml").read_bytes())
    for transport in TRANSPORTS:
        section, key = transport.key.split(".")
        assert key in shipped[section], json.dumps(shipped[section])
