"""The real daemon as systemd runs it: what it says to the notify socket, and how it takes SIGHUP."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from doubles import jpeg
from incv3d.client import Client, Refused
from incv3d.images.demo import demo_folder
from notify import NotifySocket
from processes import PATIENCE_S, DaemonProcess, ScriptedDaemon
from waiting import until

CAT = demo_folder() / "cat.jpg"
WATCHED = "WATCHDOG=1"


class Service:
    """A daemon with a scripted Session, its configuration file and the notify socket that it speaks to."""

    def __init__(self, folder: Path, settings: str, watchdog_s: float, run_ms: int) -> None:
        self.file = folder / "incv3d.yaml"
        self.configure(settings)
        self.systemd = NotifySocket(folder / "notify")
        self.daemon = ScriptedDaemon(
            folder, folder, str(self.file), str(run_ms),
            NOTIFY_SOCKET=self.systemd.address, WATCHDOG_USEC=f"{watchdog_s * 1e6:.0f}",
        )  # fmt: skip
        self.systemd.wait_for("READY=1")
        self.daemon.ready()

    def configure(self, settings: str) -> None:
        self.file.write_text(settings)

    def reload(self, settings: str) -> None:
        """Change the file, say so, and wait until the daemon is done with it."""
        self.configure(settings)
        self.daemon.signal(signal.SIGHUP)
        self.systemd.wait_for("RELOADING=1")
        self.systemd.wait_for("READY=1")

    def close(self) -> None:
        self.daemon.kill()
        self.systemd.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    services: list[Service] = []

    def make(settings: str = "{}", watchdog_s: float = 0, run_ms: int = 0) -> Service:
        services.append(Service(tmp_path, settings, watchdog_s, run_ms))
        return services[-1]

    yield make
    for service in services:
        service.close()


def test_systemd_hears_of_loading_readiness_and_the_end(state: Path, tmp_path: Path) -> None:
    systemd = NotifySocket(tmp_path / "notify")
    daemon = DaemonProcess(state, tmp_path, NOTIFY_SOCKET=systemd.address)
    systemd.wait_for("READY=1")
    assert any(message.startswith("EXTEND_TIMEOUT_USEC=") for message in systemd.heard), systemd.heard
    assert any(
        message.startswith("STATUS=efficientnet-lite0 on tensorflow float32") for message in systemd.heard
    )
    assert daemon.ready().stop() == 0
    systemd.wait_for("STOPPING=1")
    systemd.close()


def test_an_idle_daemon_proves_that_it_lives_and_nobody_else_sees_the_proof(serve) -> None:
    service = serve(watchdog_s=3)
    with zmq.Context() as context:
        subscriber = context.socket(zmq.SUB)
        subscriber.set(zmq.SUBSCRIBE, b"")
        subscriber.connect(service.daemon.results)
        for _ in range(3):
            service.systemd.wait_for(WATCHED)
        assert not subscriber.poll(0)
        subscriber.close()
    with Client(service.daemon.door) as client:
        stats = client.ask("stats")
    assert stats["outcomes"]["ok"] == 0 and stats["window"]["frames"] == 0
    assert service.daemon.stop() == 0
    assert "frames=0" in service.daemon.log.read_text().splitlines()[-1]


def test_a_session_that_hangs_is_no_longer_vouched_for(serve) -> None:
    service = serve("session: {run_limit_s: 6}", watchdog_s=3)
    service.systemd.wait_for(WATCHED)
    with zmq.Context() as context:
        door = context.socket(zmq.DEALER)
        door.connect(service.daemon.door)
        door.send_multipart([json.dumps({"v": 1, "id": "hang-run", "encoding": "jpeg"}).encode(), jpeg()])
        assert service.daemon.wait() == 70
        door.close(linger=0)
    # What was completed just before may still be told of.
    assert service.systemd.rest().count(WATCHED) <= 1


def test_refused_pictures_prove_nothing_but_do_not_keep_probes_out(serve) -> None:
    service = serve(watchdog_s=3)
    stopped = threading.Event()

    def flood() -> None:
        with Client(service.daemon.door) as client:
            while not stopped.is_set():
                with contextlib.suppress(Refused):
                    client.classify(b"\xff\xd8\xff no picture")

    flooding = threading.Thread(target=flood)
    flooding.start()
    for _ in range(3):
        service.systemd.wait_for(WATCHED)
    stopped.set()
    flooding.join(PATIENCE_S)


def test_a_good_new_file_is_taken_on_sighup(serve) -> None:
    service = serve("intake: {queue_limit: 8}")
    service.reload("intake: {queue_limit: 3}\nlatency: {interval_s: 0.2}\ndaemon: {log_level: debug}")
    service.daemon.wait_for("configuration: daemon.log_level is now `debug`")
    with Client(service.daemon.door) as client:
        assert client.ask("stats")["queue_limit"] == 3
    statuses = [message for message in service.systemd.heard if message.startswith("STATUS=")]
    assert statuses[-2] == "STATUS=reading the configuration again" and "scripted on scripted" in statuses[-1]


def test_a_bad_new_file_is_refused_and_the_old_one_stays(serve) -> None:
    service = serve("intake: {queue_limit: 5}")
    for settings, complaint in (
        ("intake: {queue_limit: none}", "incv3d.yaml:1: intake.queue_limit: must be a whole number"),
        ("a: [", "not valid YAML"),
        ("model: {name: broken}", "broken failed the golden check"),
    ):
        service.reload(settings)
        assert complaint in service.daemon.wait_for("rejected, the old one stays in force")
    service.file.unlink()
    service.daemon.signal(signal.SIGHUP)
    assert "no such file" in service.daemon.wait_for("rejected, the old one stays in force")
    with Client(service.daemon.door) as client:
        assert client.ask("stats")["queue_limit"] == 5 and client.classify(jpeg()).status == "ok"
    assert service.daemon.stop() == 0


def test_another_address_waits_for_a_restart_and_the_rest_does_not(serve) -> None:
    service = serve()
    service.reload("intake: {max_message_bytes: 2048, queue_limit: 2}")
    service.daemon.wait_for("intake.max_message_bytes of")
    with Client(service.daemon.door) as client:
        assert client.ask("stats")["queue_limit"] == 2


def test_another_model_takes_over_between_two_frames(serve) -> None:
    service = serve(run_ms=5)
    models, refused = set(), []
    with Client(service.daemon.door, timeout_s=PATIENCE_S) as client:
        stopped = threading.Event()

        def ask() -> None:
            while not stopped.is_set():
                try:
                    models.add(client.classify(jpeg()).model)
                except Refused as error:
                    refused.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        for name in ("first", "second", "third"):
            service.reload(f"model: {{name: {name}}}")
        while "third" not in models:
            assert asking.is_alive()
        stopped.set()
        asking.join(PATIENCE_S)
    assert not refused
    assert service.daemon.stop() == 0
    log = service.daemon.log.read_text()
    assert [line.split("model=")[1].split()[0] for line in log.splitlines() if "event=" in line] == [
        "scripted", "first", "second", "third",
    ]  # fmt: skip


def test_figures_begin_again_with_another_model_and_totals_go_on(serve) -> None:
    service = serve()
    with Client(service.daemon.door, timeout_s=PATIENCE_S) as client:
        for _ in range(5):
            client.classify(jpeg())
        assert client.ask("stats")["window"]["frames"] == 5
        service.reload("model: {name: other}")
        assert client.classify(jpeg()).model == "other"
        stats = client.ask("stats")
        assert (stats["window"]["frames"], stats["outcomes"]["ok"]) == (1, 6)


def test_the_window_of_the_figures_takes_its_new_size(serve) -> None:
    service = serve()
    with Client(service.daemon.door, timeout_s=PATIENCE_S) as client:
        service.reload("latency: {window_frames: 3}")
        for _ in range(5):
            client.classify(jpeg())
        window = client.ask("stats")["window"]
        assert window["frames"] == 3
        service.reload("latency: {window_s: 1}")
        while client.ask("stats")["window"]["frames"]:
            assert client.ask("stats")["window"]["window_s"] <= 1


def test_the_log_begins_anew_with_another_model(serve) -> None:
    settings = "latency: {{interval_s: 0.2}}\nmodel: {{name: {}}}"
    service = serve(settings.format("first"))
    with Client(service.daemon.door, timeout_s=PATIENCE_S) as client:
        for _ in range(5):
            client.classify(jpeg())
        lines = lines_of_the_log(service, lambda lines: " frames=5 " in lines[-1])
        changed = time.monotonic()
        service.reload(settings.format("other"))
        lines_of_the_log(service, lambda lines: "event=reload" in "".join(lines[:-1]))
        client.classify(jpeg())
        after = lines_of_the_log(service, lambda lines: " frames=1 " in lines[-1])[len(lines) :]
    while "event=reload" not in after[0]:
        assert " frames=5 " in after.pop(0)
    assert " model=other " in after[0]
    windows = [dict(pair.split("=") for pair in line.split()) for line in after[1:]]
    assert {window["frames"] for window in windows} == {"0", "1"}
    # The log rounds to 0.1 s.
    assert float(windows[-1]["window_s"]) - 0.05 <= time.monotonic() - changed


def lines_of_the_log(service: Service, are_there: Callable[[list[str]], bool]) -> list[str]:
    """The lines of the latency log, once they are as wanted."""

    def look() -> list[str] | None:
        lines = service.daemon.log.read_text().splitlines()
        return lines if are_there(lines) else None

    found: list[str] = until(look, "such a line in the latency log", PATIENCE_S)
    return found


def test_a_source_is_closed_and_another_one_opened(serve, tmp_path: Path) -> None:
    service = serve(f"source: {{type: images, path: {CAT}, name: one, fps: 50}}")
    with zmq.Context() as context:
        subscriber = context.socket(zmq.SUB)
        subscriber.set(zmq.SUBSCRIBE, b"")
        subscriber.connect(service.daemon.results)
        assert subscriber.poll(PATIENCE_S * 1000) and subscriber.recv_multipart()[0] == b"result.one"
        service.reload(f"source: {{type: images, path: {CAT}, name: two, fps: 50}}")
        while subscriber.recv_multipart()[0] != b"result.two":
            pass
        service.reload("{}")
        subscriber.close()
    with Client(service.daemon.door) as client:
        assert "source" not in client.ask("stats")


def test_other_labels_are_watched_from_the_next_frame_on(serve) -> None:
    service = serve()
    service.reload("events: {allow: [label 1], frames: 1, needed: 1, zmq: true}")
    with Client(service.daemon.door) as client:
        client.classify(jpeg())
    service.daemon.wait_for("zmq: label 1 entered")
    service.reload("events: {allow: [no such label]}")
    assert "no such label" in service.daemon.wait_for("rejected, the old one stays in force")
    service.reload("{}")
    assert "the configuration was reloaded" in service.daemon.wait_for("zmq: label 1 left")
    with Client(service.daemon.door) as client:
        assert "events" not in client.ask("stats")


def test_a_real_session_is_loaded_beside_the_one_that_runs(state: Path, tmp_path: Path) -> None:
    file = tmp_path / "incv3d.yaml"
    file.write_text("session: {threads: 1}")
    systemd = NotifySocket(tmp_path / "notify")
    daemon = DaemonProcess(state, tmp_path, "--config", str(file), NOTIFY_SOCKET=systemd.address).ready()
    systemd.wait_for("READY=1")
    answers = []
    stopped = threading.Event()

    def ask() -> None:
        with Client(daemon.door, timeout_s=PATIENCE_S) as client:
            while not stopped.is_set():
                answers.append(client.classify(CAT))

    asking = threading.Thread(target=ask)
    asking.start()
    file.write_text("session: {threads: 2}\nmodel: {top_k: 2}")
    daemon.signal(signal.SIGHUP)
    assert "only applied by a restart" in daemon.wait_for("session.threads of")
    systemd.wait_for("READY=1")
    stopped.set()
    asking.join(PATIENCE_S)
    with Client(daemon.door) as client:
        assert len(client.classify(CAT).predictions or []) == 2
        # TensorFlow keeps the threads of the first Session, so nothing else may be claimed.
        assert client.ask("info")["session"]["threads"] == 1
    assert {answer.status for answer in answers} == {"ok"}
    assert daemon.stop() == 0, daemon.said
    systemd.close()
