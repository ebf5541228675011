"""Run all checks in parallel with time limits; one that fails or hangs does not affect the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from incv3d.errors import one_line
from incv3d.tools.doctor.cameras import check_cameras
from incv3d.tools.doctor.clock import check_clock
from incv3d.tools.doctor.disk import check_disk
from incv3d.tools.doctor.findings import Finding
from incv3d.tools.doctor.host import Host
from incv3d.tools.doctor.installation import Installation, read_installation
from incv3d.tools.doctor.libraries import (
    check_libraries,
    check_python,
    check_quantizer,
    check_tensorflow,
)
from incv3d.tools.doctor.memory import check_memory
from incv3d.tools.doctor.operating_system import check_processor, check_system
from incv3d.tools.doctor.permissions import User, current_user, find_user
from incv3d.tools.doctor.ports import DaemonInfo, ask_daemon, check_http_port, check_ports
from incv3d.tools.doctor.power import check_power
from incv3d.tools.doctor.prerequisites import check_prerequisites
from incv3d.tools.doctor.service import Service, ask_systemd, check_service

Check = Callable[[], list[Finding]]
LIMIT_S = 150.0
"""More than the sum of the limits of any check's child processes."""
LONGEST_WAIT_S = 0.2
"""A Ctrl-C that arrives just before a wait is noticed only after it."""
REPORT = "this is a bug in the check: please report it with this line"


@dataclass(frozen=True, slots=True)
class Context:
    """Facts that several checks need."""

    current: User
    service: Service
    service_user: User | None
    """The user that the service runs as; None: it is not installed, or there is no such user."""
    setup: Installation
    configuration: list[Finding]
    answer: DaemonInfo
    """Of the daemon that is already running."""


def run_all_checks(machine: Host, config_path: str | None) -> Iterator[Finding]:
    """Run all checks; yield the findings in a fixed order, each as soon as it is known.

    :param config_path: the value of ``--config``.
    """

    def with_context(check: Callable[[Context], list[Finding]]) -> Check:
        return lambda: check(context.result(LIMIT_S))

    executor = ThreadPoolExecutor(1, thread_name_prefix="doctor")
    context = executor.submit(_gather_context, machine, config_path)
    executor.shutdown(wait=False)
    checks: dict[str, Check] = {
        "system": lambda: check_system(machine),
        "processor": lambda: check_processor(machine),
        "power": lambda: check_power(machine),
        "memory": lambda: check_memory(machine),
        "clock": lambda: check_clock(machine),
        "python": lambda: check_python(machine),
        "libraries": lambda: check_libraries(machine),
        "tensorflow": with_context(lambda now: check_tensorflow(machine, bool(now.answer))),
        "int8": lambda: check_quantizer(machine),
        "configuration": with_context(lambda now: now.configuration),
        "prerequisites": with_context(
            lambda now: check_prerequisites(machine, config_path, now.service, now.service_user)
        ),
        "model": with_context(lambda now: _check_models(machine, now)),
        "disk": with_context(
            lambda now: check_disk(
                now.setup, now.service_user if now.setup.by_systemd and now.service_user else now.current
            )
        ),
        "cameras": with_context(
            lambda now: check_cameras(machine, now.setup.config.all_sources, now.current, now.service_user)
        ),
        "ports": with_context(lambda now: check_ports(machine, now.setup.config.intake, now.answer)),
        "http port": with_context(lambda now: check_http_port(machine, now.setup.config.http, now.answer)),
        "service": with_context(lambda now: check_service(machine, now.service)),
    }
    yield from run_checks(checks, LIMIT_S)


def run_checks(checks: dict[str, Check], limit_s: float) -> Iterator[Finding]:
    """Run `checks` in parallel and yield their findings; a check that raises or times out is a finding.

    :param limit_s: for each check. A thread that hangs longer (a lost network disk) is abandoned.
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
        what = f"could not be checked within {limit_s:g} s: a disk or a device may hang"
        return [Finding(name, "warning", what, "see: sudo dmesg")]
    error = future.exception()
    if isinstance(error, PermissionError):
        what = f"{error.filename}: this user cannot read it"
        return [Finding(name, "note", what, "run: sudo incv3d doctor")]
    if error:
        what = f"could not be checked: {type(error).__name__}: {one_line(error)}"
        return [Finding(name, "warning", what, REPORT)]
    return future.result()


def _gather_context(machine: Host, config_path: str | None) -> Context:
    service = ask_systemd(machine)
    service_user = find_user(machine, service.user, service.groups) if service.installed else None
    setup, configuration = read_installation(config_path, machine, service, service_user)
    answer = ask_daemon(setup.config.intake)
    return Context(current_user(machine), service, service_user, setup, configuration, answer)


def _check_models(machine: Host, now: Context) -> list[Finding]:
    # Imports NumPy, which may be broken here.
    from incv3d.tools.doctor.models import check_models

    return check_models(machine, now.setup, bool(now.answer))
