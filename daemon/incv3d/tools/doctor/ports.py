"""The addresses of the door: are they free, and if not, who has them?"""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from incv3d.config.network import HttpSection
from incv3d.config.schema import IntakeSection
from incv3d.errors import Incv3dError
from incv3d.tools.doctor.findings import Finding
from incv3d.tools.doctor.host import Host, read

ASK_LIMIT_S = 3.0
LONGEST_COMMAND = 80
LISTENING = "0A"
"""``TCP_LISTEN`` in ``/proc/net/tcp``."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the daemon says that has the door; `facts` is empty where none does, or it wants a key."""

    facts: dict[str, Any]
    asked: bool = False
    """Whether somebody was there to be asked."""
    locked: bool = False
    """Whether somebody is there who answers only those who have a key."""

    def __bool__(self) -> bool:
        return bool(self.facts) or self.locked


def ask_daemon(intake: IntakeSection) -> Answer:
    """Ask whoever listens at ``intake.bind`` whether it is incv3d; nobody there is no wait."""
    if _obstacle(intake.bind) != errno.EADDRINUSE:
        return Answer({})
    try:
        from incv3d.client import Client, NoEntry

        try:
            with Client(_reachable(intake.bind), ASK_LIMIT_S) as client:
                return Answer(client.ask("info"), asked=True)
        except NoEntry:
            return Answer({}, asked=True, locked=True)
    except (Incv3dError, ImportError):  # ZeroMQ may be what is broken here
        return Answer({}, asked=True)


def check_ports(machine: Host, intake: IntakeSection, answer: Answer) -> list[Finding]:
    """Whether a daemon could listen at both addresses, or one does already.

    :param answer: of whoever listens at ``intake.bind``.
    """
    findings = [_door(machine, intake.bind, answer)]
    if intake.publish:
        findings.append(_address(machine, "intake.publish", intake.publish, bool(answer)))
    return findings


def check_http_port(machine: Host, http: HttpSection, answer: Answer) -> list[Finding]:
    """Return whether a daemon could serve HTTP at its address, or one does already; nothing without HTTP.

    :param answer: of what listens at ``intake.bind``.
    """
    return [_address(machine, "http.bind", f"tcp://{http.bind}", bool(answer))] if http.bind else []


def _door(machine: Host, address: str, answer: Answer) -> Finding:
    if not answer:
        return _address(machine, "intake.bind", address, False, answer.asked)
    if answer.locked:
        return Finding("intake.bind", "ok", f"{address}: what listens there wants a key, as incv3d does")
    facts = answer.facts
    running = f"{facts['model']} on {facts['engine']}" if facts.get("model") else "no model yet"
    what = f"{address}: incv3d {facts.get('version')} answers there: {facts.get('state')}, {running}"
    return Finding("intake.bind", "ok", what)


def _address(machine: Host, name: str, address: str, running: bool, asked: bool = False) -> Finding:
    number = _obstacle(address)
    if number == 0:
        if running:
            what = f"{address}: nothing listens there, though incv3d runs: with another configuration?"
            return Finding(name, "note", what)
        return Finding(name, "ok", f"{address}: free (incv3d does not run)")
    if number == errno.EADDRINUSE and running:
        return Finding(name, "ok", f"{address}: in use, and incv3d runs")
    if number == errno.EADDRINUSE:
        who = _holder(machine, address) or "another program"
        said = f", and does not answer as incv3d does within {ASK_LIMIT_S:g} s" if asked else ""
        other = f"give incv3d another address ({name}); who it is: {_how_to_see(address)}"
        hung = "if it is incv3d, it hangs or wants a key: see its log, and restart it; else "
        fix = f"{hung if asked else ''}stop it, or {other}"
        return Finding(name, "problem", f"{address}: {who} listens there{said}", fix)
    fixes = {
        errno.EADDRNOTAVAIL: f"name an address of this machine in {name}: ip -brief address",
        errno.EACCES: f"take a port of 1024 or more, or a folder that this user may write, in {name}",
        errno.ENOENT: f"make its folder, or name another path in {name}",
    }
    what = f"{address}: cannot be listened at: {os.strerror(number)}"
    return Finding(name, "problem", what, fixes.get(number, f"name another address in {name}"))


def _obstacle(address: str) -> int:
    """Why nothing could listen at `address` (errno); 0: it could.

    Nothing ever listens for it: a client would take that for the daemon.
    """
    if address.startswith("ipc://"):
        return _ipc_obstacle(Path(address.removeprefix("ipc://")))
    parts = urlsplit(address)
    try:
        host = _address_of(parts.hostname or "")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As ZeroMQ does it; what only lingers in TIME_WAIT is no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, parts.port or 0))
    except OSError as error:
        return errno.EADDRNOTAVAIL if isinstance(error, socket.gaierror) else error.errno or errno.EIO
    return 0


def _ipc_obstacle(path: Path) -> int:
    if str(path).startswith("@"):
        return 0
    if not path.parent.is_dir():
        return errno.ENOENT
    if not os.access(path.parent, os.W_OK | os.X_OK):
        return errno.EACCES
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return 0  # none there, or one that a killed daemon left: ZeroMQ replaces it
    return errno.EADDRINUSE


def _address_of(name: str) -> str:
    """The numeric address of a host."""
    if name == "*" or name in (interface for _, interface in socket.if_nameindex()):
        # ZeroMQ takes an interface's name too; a port that is free at every address is free at its own.
        return "0.0.0.0"
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return str(found[0][4][0])


def _reachable(address: str) -> str:
    """Where a client of this machine finds what is bound to `address`."""
    for everywhere, here in (
        ("//*:", "//127.0.0.1:"),
        ("//0.0.0.0:", "//127.0.0.1:"),
        ("//[::]:", "//[::1]:"),
    ):
        address = address.replace(everywhere, here)
    return address


def _how_to_see(address: str) -> str:
    if address.startswith("ipc://"):
        return f"sudo ss -xlp src {address.removeprefix('ipc://')}"
    return f"sudo ss -ltnp 'sport = :{urlsplit(address).port}'"


def _holder(machine: Host, address: str) -> str:
    """The program that listens at a TCP address, as far as this user may know: ``nginx (pid 12)``."""
    port = urlsplit(address).port if address.startswith("tcp://") else None
    sockets = set()
    for table in ("net/tcp", "net/tcp6"):
        for line in read(machine.proc / table).splitlines()[1:]:
            columns = line.split()
            if port and columns[3] == LISTENING and int(columns[1].rpartition(":")[2], 16) == port:
                sockets.add(f"socket:[{columns[9]}]")
    for process in machine.proc.glob("[0-9]*") if sockets else ():
        try:
            if any(str(each.readlink()) in sockets for each in (process / "fd").iterdir()):
                command = read(process / "cmdline").replace("\0", " ")[:LONGEST_COMMAND]
                return f"`{command}` (pid {process.name})"
        except OSError:
            continue  # another user's, or gone
    return ""
