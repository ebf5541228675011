"""Every check, all at once, each with a limit: what one does, raises or hangs at is no other's affair."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from incv3d.tools.doctor.cameras import check_cameras
from incv3d.tools.doctor.clock import check_clock
from incv3d.tools.doctor.disk import check_disk
from incv3d.tools.doctor.findings import Finding
from incv3d.tools.doctor.host import Host
from incv3d.tools.doctor.installation import Installation, read_setup
from incv3d.tools.doctor.libraries import check_libraries, check_python, check_tensorflow
from incv3d.tools.doctor.memory import check_memory
from incv3d.tools.doctor.operating_system import check_processor, check_system
from incv3d.tools.doctor.permissions import Person, myself, person
from incv3d.tools.doctor.ports import Answer, ask_daemon, check_http_port, check_ports
from incv3d.tools.doctor.power import check_power
from incv3d.tools.doctor.prerequisites import check_prerequisites
from incv3d.tools.doctor.service import Service, ask_systemd, check_service

Check = Callable[[], list[Finding]]
LIMIT_S = 150.0
"""More than the limits of all children of any check."""
LONGEST_WAIT_S = 0.2
"""Ctrl-C interrupts a wait, but not when it comes just before; then it is noticed after so long."""
REPORT = "that is a fault of this check: please report it with this line"


@dataclass(frozen=True, slots=True)
class Context:
    """What several checks need to know."""

    me: Person
    service: Service
    servant: Person | None
    """Whom the service runs as; None: it is not installed, or there is no such user."""
    setup: Installation
    configuration: list[Finding]
    answer: Answer
    """Of the daemon that runs already."""


def run_all_checks(machine: Host, config_path: str | None) -> Iterator[Finding]:
    """Look at everything; findings come in an order that does not change, each as soon as it is there.

    :param config_path: the value of ``--config``.
    """

    def situated(check: Callable[[Context], list[Finding]]) -> Check:
        return lambda: check(situation.result(LIMIT_S))

    scout = ThreadPoolExecutor(1, thread_name_prefix="doctor")
    situation = scout.submit(_look_around, machine, config_path)
    scout.shutdown(wait=False)
    checks: dict[str, Check] = {
        "system": lambda: check_system(machine),
        "processor": lambda: check_processor(machine),
        "power": lambda: check_power(machine),
        "memory": lambda: check_memory(machine),
        "clock": lambda: check_clock(machine),
        "python": lambda: check_python(machine),
        "libraries": lambda: check_libraries(machine),
        "tensorflow": situated(lambda now: check_tensorflow(machine, bool(now.answer))),
        "configuration": situated(lambda now: now.configuration),
        "prerequisites": situated(
            lambda now: check_prerequisites(machine, config_path, now.service, now.servant)
        ),
        "model": situated(lambda now: _check_models(machine, now)),
        "disk": situated(
            lambda now: check_disk(now.setup, now.servant if now.setup.by_systemd and now.servant else now.me)
        ),
        "cameras": situated(lambda now: check_cameras(machine, now.setup.config.source, now.me, now.servant)),
        "ports": situated(lambda now: check_ports(machine, now.setup.config.intake, now.answer)),
        "http port": situated(lambda now: check_http_port(machine, now.setup.config.http, now.answer)),
        "service": situated(lambda now: check_service(machine, now.service)),
    }
    yield from run_checks(checks, LIMIT_S)


def run_checks(checks: dict[str, Check], limit_s: float) -> Iterator[Finding]:
    """The findings of `checks`, which run at the same time; one that raises or takes too long is a finding.

    :param limit_s: for each. What hangs longer (a network disk that is gone) is left behind in its thread.
    """
    pool = ThreadPoolExecutor(len(checks), thread_name_prefix="doctor")
    futures = {name: pool.submit(check) for name, check in checks.items()}
    pool.shutdown(wait=False)
    for name, future in futures.items():
        yield from _outcome(name, future, limit_s)


def _outcome(name: str, future: Future[list[Finding]], limit_s: float) -> list[Finding]:
    deadline = time.monotonic() + limit_s
    while not future.done() and (left_s := deadline - time.monotonic()) > 0:
        wait([future], min(left_s, LONGEST_WAIT_S))
    if not future.done():
        what = f"could not be looked at within {limit_s:g} s"
        return [Finding(name, "warning", what, "does a disk or a device hang? see: sudo dmesg")]
    error = future.exception()
    if isinstance(error, PermissionError):
        what = f"{error.filename}: this user may not look there"
        return [Finding(name, "note", what, "sudo incv3d doctor sees more")]
    if error:
        what = f"could not be looked at: {type(error).__name__}: {' '.join(str(error).split())}"
        return [Finding(name, "warning", what, REPORT)]
    return future.result()


def _look_around(machine: Host, config_path: str | None) -> Context:
    service = ask_systemd(machine)
    servant = person(machine, service.user, service.groups) if service.installed else None
    setup, configuration = read_setup(config_path, machine, service, servant)
    answer = ask_daemon(setup.config.intake)
    return Context(myself(machine), service, servant, setup, configuration, answer)


def _check_models(machine: Host, now: Context) -> list[Finding]:
    # Imports NumPy, which may be what is broken here.
    from incv3d.tools.doctor.models import check_models

    return check_models(machine, now.setup, bool(now.answer))
