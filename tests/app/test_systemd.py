"""What is sent to the notify socket, over a real one."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from incv3d.app.systemd import SystemdNotifier
from notify import NotifySocket


@pytest.fixture
def listen() -> Iterator[Callable[[str | Path], NotifySocket]]:
    sockets: list[NotifySocket] = []

    def make(address: str | Path) -> NotifySocket:
        sockets.append(NotifySocket(address))
        return sockets[-1]

    yield make
    for each in sockets:
        each.close()


@pytest.mark.parametrize("abstract", [False, True])
def test_a_path_and_an_abstract_name_are_heard(listen, tmp_path: Path, abstract: bool) -> None:
    socket = listen(f"@incv3d-test-{os.getpid()}" if abstract else tmp_path / "notify")
    notifier = SystemdNotifier({"NOTIFY_SOCKET": socket.address})
    notifier.ready()
    notifier.extend_timeout(1.5)
    notifier.watchdog()
    notifier.stopping()
    assert [socket.next() for _ in range(4)] == [
        "READY=1",
        "EXTEND_TIMEOUT_USEC=1500000",
        "WATCHDOG=1",
        "STOPPING=1",
    ]
    notifier.close()


def test_a_status_is_sent_when_it_changes(listen, tmp_path: Path) -> None:
    socket = listen(tmp_path / "notify")
    notifier = SystemdNotifier({"NOTIFY_SOCKET": socket.address})
    for text in ("warm", "warm", "warmer"):
        notifier.status(text)
    assert socket.rest() == ["STATUS=warm", "STATUS=warmer"]
    notifier.close()


def test_a_reload_tells_when_it_began(listen, tmp_path: Path) -> None:
    socket = listen(tmp_path / "notify")
    notifier = SystemdNotifier({"NOTIFY_SOCKET": socket.address})
    notifier.reloading()
    first, second = socket.next().splitlines()
    assert first == "RELOADING=1" and int(second.removeprefix("MONOTONIC_USEC=")) > 0
    notifier.close()


def test_without_systemd_nobody_is_told(caplog) -> None:
    notifier = SystemdNotifier({"WATCHDOG_USEC": "1000000"})
    notifier.ready()
    notifier.watchdog()
    assert notifier.watchdog_s is None and not caplog.records
    notifier.close()


def test_a_socket_that_nobody_reads_blocks_nothing(listen, tmp_path: Path, caplog) -> None:
    socket = listen(tmp_path / "notify")
    notifier = SystemdNotifier({"NOTIFY_SOCKET": socket.address})
    with caplog.at_level(logging.WARNING):
        for _ in range(5000):
            notifier.watchdog()
    assert socket.rest() and "cannot send WATCHDOG to systemd" in caplog.text
    notifier.close()


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({"WATCHDOG_USEC": "90000000"}, 90.0),
        ({"WATCHDOG_USEC": "90000000", "WATCHDOG_PID": str(os.getpid())}, 90.0),
        ({"WATCHDOG_USEC": "90000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_whether_systemd_waits_for_signs_of_life(tmp_path: Path, variables, seconds) -> None:
    notifier = SystemdNotifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), **variables})
    assert notifier.watchdog_s == seconds
    notifier.close()
