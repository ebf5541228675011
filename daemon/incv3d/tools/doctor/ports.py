"""Check whether the daemon's addresses are free, and which program uses them."""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from incv3d.config.intake import IntakeSection
from incv3d.config.network import HttpSection
from incv3d.errors import Incv3dError
from incv3d.machine import read_text
from incv3d.tools.doctor.findings import Finding
from incv3d.tools.doctor.host import Host

ASK_LIMIT_S = 3.0
LONGEST_COMMAND = 80
LISTENING = "0A"
"""``TCP_LISTEN`` in ``/proc/net/tcp``."""


@dataclass(frozen=True, slots=True)
class DaemonInfo:
    """The `info` answer of the daemon at ``intake.bind``; `facts` is empty without one or without a key."""

    facts: dict[str, Any]
    asked: bool = False
    """Whether a program was listening."""
    locked: bool = False
    """Whether a program listens that answers only clients with a key."""

    def __bool__(self) -> bool:
        return bool(self.facts) or self.locked


def ask_daemon(intake: IntakeSection, key: str | None = None) -> DaemonInfo:
    """Ask the program at ``intake.bind`` whether it is incv3d; do not wait if none is listening.

    :param key: a client's key file, for a daemon that requires one.
    """
    if _bind_error(intake.bind) != errno.EADDRINUSE:
        return DaemonInfo({})
    try:
        from incv3d.client import Client, NoEntry

        try:
            with Client(reachable(intake.bind), ASK_LIMIT_S, key=key) as client:
                return DaemonInfo(client.ask("info"), asked=True)
        except NoEntry:
            return DaemonInfo({}, asked=True, locked=True)
    except (Incv3dError, ImportError):  # ZeroMQ may be broken
        return DaemonInfo({}, asked=True)


def check_ports(machine: Host, intake: IntakeSection, answer: DaemonInfo) -> list[Finding]:
    """Report whether a daemon could listen at both addresses, or already does.

    :param answer: of the program at ``intake.bind``.
    """
    findings = [_door(machine, intake.bind, answer)]
    if intake.publish:
        findings.append(_address(machine, "intake.publish", intake.publish, bool(answer)))
    return findings


def check_http_port(machine: Host, http: HttpSection, answer: DaemonInfo) -> list[Finding]:
    """Report whether a daemon could serve HTTP at its address, or already does; nothing without HTTP.

    :param answer: of the program at ``intake.bind``.
    """
    return [_address(machine, "http.bind", f"tcp://{http.bind}", bool(answer))] if http.bind else []


def _door(machine: Host, address: str, answer: DaemonInfo) -> Finding:
    if not answer:
        return _address(machine, "intake.bind", address, False, answer.asked)
    if answer.locked:
        return Finding(
            "intake.bind", "ok", f"{address}: a program listens there that requires a key, as incv3d does"
        )
    facts = answer.facts
    running = f"{facts['model']} on {facts['engine']}" if facts.get("model") else "no model yet"
    what = f"{address}: incv3d {facts.get('version')} answers: {facts.get('state')}, {running}"
    return Finding("intake.bind", "ok", what)


def _address(machine: Host, name: str, address: str, running: bool, asked: bool = False) -> Finding:
    number = _bind_error(address)
    if number == 0:
        if running:
            what = f"{address}: nothing listens there, although incv3d runs; it may use another configuration"
            return Finding(name, "note", what)
        return Finding(name, "ok", f"{address}: free (incv3d is not running)")
    if number == errno.EADDRINUSE and running:
        return Finding(name, "ok", f"{address}: in use, and incv3d is running")
    if number == errno.EADDRINUSE:
        who = _holder(machine, address) or "another program"
        said = f", and gives no incv3d answer within {ASK_LIMIT_S:g} s" if asked else ""
        other = f"give incv3d another address ({name}); to see what it is: {_how_to_see(address)}"
        hung = (
            "if it is incv3d, it hangs or requires a key: see its log and restart it; otherwise "
            if asked
            else ""
        )
        fix = f"{hung}stop it, or {other}"
        return Finding(name, "problem", f"{address}: {who} listens there{said}", fix)
    fixes = {
        errno.EADDRNOTAVAIL: f"set {name} to an address of this machine (see: ip -brief address)",
        errno.EACCES: f"set {name} to a port of 1024 or more, or a path in a folder that this user can write",
        errno.ENOENT: f"create its folder, or set {name} to another path",
    }
    what = f"{address}: cannot listen there: {os.strerror(number)}"
    return Finding(name, "problem", what, fixes.get(number, f"set {name} to another address"))


def _bind_error(address: str) -> int:
    """Return the error number that keeps a program from listening at `address`, or 0.

    It binds but never listens: a client would take it for the daemon.
    """
    if address.startswith("ipc://"):
        return _ipc_bind_error(Path(address.removeprefix("ipc://")))
    parts = urlsplit(address)
    try:
        host = _address_of(parts.hostname or "")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As ZeroMQ does; connections in TIME_WAIT do not matter.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, parts.port or 0))
    except OSError as error:
        return errno.EADDRNOTAVAIL if isinstance(error, socket.gaierror) else error.errno or errno.EIO
    return 0


def _ipc_bind_error(path: Path) -> int:
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
            return 0  # missing, or left by a killed daemon: ZeroMQ replaces it
    return errno.EADDRINUSE


def _address_of(name: str) -> str:
    """Return the numeric address of a host."""
    if name == "*" or name in (interface for _, interface in socket.if_nameindex()):
        # ZeroMQ also accepts an interface name; a port that is free at every address is free there.
        return "0.0.0.0"
    found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return str(found[0][4][0])


def reachable(address: str) -> str:
    """Return where a client on this machine can reach a server bound to `address`."""
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
    """Return the program that listens at a TCP address, ``nginx (pid 12)``; empty if it cannot be seen."""
    port = urlsplit(address).port if address.startswith("tcp://") else None
    sockets = set()
    for table in ("net/tcp", "net/tcp6"):
        for line in read_text(machine.proc / table).splitlines()[1:]:
            columns = line.split()
            if port and columns[3] == LISTENING and int(columns[1].rpartition(":")[2], 16) == port:
                sockets.add(f"socket:[{columns[9]}]")
    for process in machine.proc.glob("[0-9]*") if sockets else ():
        try:
            if any(str(each.readlink()) in sockets for each in (process / "fd").iterdir()):
                command = read_text(process / "cmdline").replace("\0", " ")[:LONGEST_COMMAND]
                return f"`{command}` (pid {process.name})"
        except OSError:
            continue  # another user's, or it has ended
    return ""
