"""Notifications reach real servers, once, in order, and late if the network was away."""

from __future__ import annotations

import email
import email.policy
import http.server
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller

from incv3d.clock import timestamp_ms
from incv3d.config.events import EventsSection
from incv3d.config.notify import NotifySection
from incv3d.config.schema import Config
from incv3d.frames import Frame
from incv3d.images.demo import demo_folder
from incv3d.notify.notifier import Notifier
from incv3d.notify.outbox import MOST_WAITING
from incv3d.protocol.events import EventMessage
from waiting import until

JPEG = (demo_folder() / "cat.jpg").read_bytes()
MORNING = datetime.fromisoformat("2026-12-01T07:30").timestamp()
SECRET = "hunter2hunter2"


def entered(label: str = "fox", at_s: float = MORNING, source: str = "camera") -> EventMessage:
    at = timestamp_ms(at_s)
    return EventMessage(
        v=1, event="entered", source=source, label=label, synset="", score=0.8, at=at, frames=3
    )


FRAME = Frame("camera", JPEG, None, received=0.0, captured=0.0)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mailbox:
    """A mail server, and what it was sent."""

    def __init__(self, port: int) -> None:
        self.mails: list[email.message.EmailMessage] = []
        self.controller = Controller(self, hostname="127.0.0.1", port=port)
        self.controller.start()

    async def handle_DATA(self, server: object, session: object, envelope) -> str:
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        return "250 OK"


class Webhook:
    """A web server that takes JSON, and says `status`."""

    def __init__(self, port: int, status: int = 200) -> None:
        self.status = status
        self.taken: list[dict[str, object]] = []
        webhook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if webhook.status == 200:
                    webhook.taken.append(json.loads(body))
                self.send_response(webhook.status)
                self.end_headers()

            def log_message(self, *values: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def webhooks() -> Iterator[Callable[..., Webhook]]:
    made: list[Webhook] = []

    def make(port: int, status: int = 200) -> Webhook:
        made.append(Webhook(port, status))
        return made[-1]

    yield make
    for each in made:
        each.close()


Start = Callable[..., Notifier]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    made: list[Notifier] = []

    def make(*urls: str, now: Callable[[], float] = lambda: MORNING, **rule: object) -> Notifier:
        (tmp_path / "urls").write_text("\n".join(urls))
        section = NotifySection(urls_file=str(tmp_path / "urls"), rules={"it": rule})  # type: ignore[dict-item]
        config = Config(events=EventsSection(allow=["*"]), notify=section)

        def died(thread: str, error: BaseException) -> None:
            raise AssertionError(thread) from error

        made.append(Notifier(config, tmp_path / "notify", died, 0.05, now))
        return made[-1]

    yield make
    for each in made:
        each.close(time.monotonic() + 10)


def test_the_first_fox_of_the_day_is_one_mail_with_its_image(start: Start) -> None:
    port = free_port()
    mailbox = Mailbox(port)
    try:
        url = f"mailto://127.0.0.1:{port}?from=pi@example.org&to=me@example.org&mode=insecure"
        notifier = start(url, label="fox", first="day", between="07:00-19:00")
        for hours in (-2, 0, 1, 3):
            notifier.take_event(entered(at_s=MORNING + 3600 * hours), FRAME)
        until(lambda: notifier.status()["notify"]["sent"] == 1, "the mail")
        notifier.close(time.monotonic() + 10)
        (mail,) = mailbox.mails
        assert mail["Subject"] == "fox at camera"
        assert "fox entered at 2026-12-01 07:30:00, score 0.80" in mail.get_body().get_content()
        (attachment,) = mail.iter_attachments()
        assert attachment.get_content() == JPEG
    finally:
        mailbox.controller.stop()


def test_a_network_that_is_away_costs_nothing_and_the_message_comes_once_late(
    start: Start, webhooks, caplog
) -> None:
    port = free_port()
    clock = {"now": MORNING}
    notifier = start(f"json://user:{SECRET}@127.0.0.1:{port}", now=lambda: clock["now"])
    for label in ("fox", "cat"):
        notifier.take_event(entered(label), FRAME)
    until(lambda: notifier.status()["notify"]["trouble"], "the trouble")
    assert notifier.status()["notify"]["waiting"] == 2
    clock["now"] += 3600
    webhook = webhooks(port)
    until(lambda: notifier.status()["notify"]["sent"] == 2, "both messages")
    assert [each["title"] for each in webhook.taken] == ["fox at camera", "cat at camera"]
    late = "this message is late by 60 minutes"
    assert all(late in str(each["message"]) for each in webhook.taken)
    assert caplog.text.count("a notification cannot be sent") == 1
    assert "notifications are sent again" in caplog.text
    assert SECRET not in caplog.text and SECRET not in json.dumps(notifier.status())


def test_what_waits_survives_a_restart_and_the_rules_remember(start: Start, webhooks, tmp_path: Path) -> None:
    port = free_port()
    first = start(f"json://127.0.0.1:{port}", first="ever")
    first.take_event(entered(), FRAME)
    until(lambda: first.status()["notify"]["trouble"], "the trouble")
    first.close(time.monotonic() + 10)
    webhook = webhooks(port)
    second = start(f"json://127.0.0.1:{port}", first="ever")
    second.take_event(entered(), FRAME)
    until(lambda: second.status()["notify"]["sent"] == 1, "the message")
    second.close(time.monotonic() + 10)
    assert len(webhook.taken) == 1
    assert [each.name for each in (tmp_path / "notify").iterdir()] == ["memory.json"]


def test_a_service_that_has_it_does_not_get_it_again_because_another_fails(start: Start, webhooks) -> None:
    good, bad = webhooks(free_port()), webhooks(free_port(), 500)
    ports = [each.server.server_address[1] for each in (good, bad)]
    notifier = start(*(f"json://127.0.0.1:{port}" for port in ports))
    notifier.take_event(entered(), FRAME)
    until(lambda: notifier.status()["notify"]["trouble"], "the trouble")
    bad.status = 200
    until(lambda: notifier.status()["notify"]["sent"] == 1, "the message")
    assert len(good.taken) == len(bad.taken) == 1


def test_waiting_messages_are_bounded(start: Start) -> None:
    notifier = start(f"json://127.0.0.1:{free_port()}", image=False)
    for number in range(MOST_WAITING + 5):
        notifier.take_event(entered(f"label {number}"), None)
        until(lambda: not notifier._events, "the thread")
    until(lambda: notifier.status()["notify"]["dropped"] == 5, "the oldest to go")
    assert notifier.status()["notify"]["waiting"] == MOST_WAITING


def test_a_file_of_addresses_that_is_mended_is_read_again(start: Start, webhooks, tmp_path: Path) -> None:
    webhook = webhooks(free_port())
    notifier = start("")
    notifier.take_event(entered(), FRAME)
    until(lambda: "names no service" in notifier.status()["notify"]["trouble"], "the trouble")
    (tmp_path / "urls").write_text(f"# mine\njson://127.0.0.1:{webhook.server.server_address[1]}\n")
    until(lambda: webhook.taken, "the message")


def test_a_message_that_a_power_cut_damaged_is_left_out(start: Start, webhooks, tmp_path: Path) -> None:
    (tmp_path / "notify").mkdir()
    (tmp_path / "notify" / "00000001.json").write_bytes(b"{")
    (tmp_path / "notify" / ".00000002.json").write_bytes(b"{")
    (tmp_path / "notify" / "memory.json").write_bytes(b"")
    webhook = webhooks(free_port())
    notifier = start(f"json://127.0.0.1:{webhook.server.server_address[1]}")
    notifier.take_event(entered(), FRAME)
    until(lambda: webhook.taken, "the message")
    notifier.close(time.monotonic() + 10)
    assert [each.name for each in (tmp_path / "notify").iterdir()] == ["memory.json"]


def test_a_full_disk_stops_nothing(small_disk: Path, tmp_path: Path, caplog) -> None:
    caplog.set_level(logging.WARNING)
    (tmp_path / "urls").write_text("json://127.0.0.1:9\n")
    section = NotifySection(urls_file=str(tmp_path / "urls"), rules={"it": {}})
    config = Config(events=EventsSection(allow=["*"]), notify=section)
    (small_disk / "filler").write_bytes(bytes(1024 * 1024 - 4096))
    notifier = Notifier(config, small_disk / "notify", lambda *_: None, 0.05)
    notifier.take_event(entered(), FRAME)
    until(lambda: "No space left" in notifier.status()["notify"]["trouble"], "the trouble")
    notifier.close(time.monotonic() + 10)
