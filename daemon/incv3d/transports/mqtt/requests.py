"""The intake of a fleet: frames that the broker shares out, each to one daemon.

The subscription is shared (``$share/GROUP/FILTER``). A daemon that holds as many frames as it may answers
further ones ``busy`` at once, and the sender sends them again: the broker gives them to the next. So frames
go to those that have room, which are the fast ones more often, and none grows old in a queue. MQTT's own
back-pressure would not do that alone: Mosquitto 2 hands frames out in turn, keeps up to 1000 for a daemon
whose Receive Maximum is reached, and forgets them when it dies.

A frame is acknowledged when the broker has its answer. Those of a daemon that dies before, a broker may
give to another (MQTT 5, 4.8.2). Mosquitto forgets them: a sender sends again what has no answer in time.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from incv3d.config.schema import IntakeSection
from incv3d.frames import FrameId, Refusal, Result
from incv3d.protocol import messages
from incv3d.protocol.clocks import SenderClocks
from incv3d.transports.admission import Admission, Rejection
from incv3d.transports.answers import Answers
from incv3d.transports.mqtt.complaints import Complaints, shown
from incv3d.transports.mqtt.connection import BrokerConnection
from incv3d.transports.mqtt.message import Message, Receipt
from incv3d.transports.mqtt.outbox import Outgoing
from incv3d.transports.mqtt.request_message import frame_of, id_of

ROOM_TO_REFUSE = 16
"""Frames that the broker may send beyond those that are held, so that they can be answered ``busy``."""
MOST_LEVELS = 100
"""Of a response topic: brokers hang up on a client that publishes to a deeper one (Mosquitto at 200)."""
DAEMON = "daemon"
"""The user property of an answer that says whose it is."""


@dataclass(frozen=True, slots=True)
class _Request:
    """What is kept of a frame that has no answer yet."""

    receipt: Receipt
    topic: str
    response_topic: str
    correlation: bytes | None
    id: FrameId


class FrameConsumer:
    """Takes frames from the broker, and publishes an answer for each.

    :param filter_: the topics of the frames.
    :param group: of those who share them.
    :param room: frames that may be without an answer.
    :param name: of this daemon, for the answers.
    :param section: what is admitted of a frame.
    :param admission: puts a frame in line, or says why not.
    :param answers: makes the JSON.
    :param complaints: hears of frames whose sender cannot be answered.
    :param on_refused: told of every such frame.
    """

    def __init__(
        self,
        link: BrokerConnection,
        filter_: str,
        group: str,
        room: int,
        name: str,
        section: IntakeSection,
        admission: Admission,
        answers: Answers,
        complaints: Complaints,
        on_refused: Callable[[Refusal], None],
    ) -> None:
        self._link = link
        self._shared = f"$share/{group}/{filter_}"
        self._room = room
        self._name = name
        self._section = section
        self._admission = admission
        self._answers = answers
        self._complaints = complaints
        self._on_refused = on_refused
        self._lock = threading.Lock()
        self._open: dict[int, _Request] = {}
        self._request_ids = itertools.count(1)
        self._clocks = SenderClocks()
        self._is_wanted = False
        self._is_subscribed = False
        self._taken = self._answered = 0

    def want(self, is_wanted: bool) -> None:
        """Take frames from now on, or no more; callable from any thread."""
        self._is_wanted = is_wanted
        self._link.wake()

    def connected(self) -> None:
        """The broker has let us in."""
        self._is_subscribed = False

    def turn(self) -> None:
        """Hold the subscription for as long as frames are wanted."""
        if self._is_wanted != self._is_subscribed:
            self._is_subscribed = self._is_wanted
            if self._is_subscribed:
                self._link.subscribe(self._shared, qos=1)
            else:
                self._link.unsubscribe(self._shared)

    def receive(self, message: Message) -> None:
        """A frame has arrived."""
        request_id = next(self._request_ids)
        self._taken += 1
        request = _Request(
            message.receipt, message.topic, message.response_topic, message.correlation, id_of(message)
        )
        with self._lock:
            held = len(self._open)
            self._open[request_id] = request
        received = time.monotonic()
        # The broker does not say who sent it; senders that await an answer differ in where they await it.
        sender = hashlib.blake2b((message.response_topic or message.topic).encode(), digest_size=16).digest()
        where = f"the broker ({shown(message.topic)})"
        now = messages.Clocks(
            received, time.time(), partial(self._clocks.age_s, sender, lambda: where, received)
        )
        try:
            frame = frame_of(message, now, self._section.ttl_ms, self._section.max_message_bytes)
            if held < self._room:
                denial = self._admission.admit(replace(frame, request_id=request_id))
            else:
                denial = self._admission.busy(held)
        except messages.BadRequest as error:
            denial = Rejection(error.refusal, str(error))
        except Exception as error:  # noqa: BLE001 - whatever somebody sent must cost that frame alone
            self._complaints.warn(
                "frame not handled", f"a frame of {shown(message.topic)} could not be handled", error
            )
            denial = Rejection(Refusal.INTERNAL, "the daemon failed at it; see its log")
        if denial:
            self._refuse(request_id, request, denial)

    def deliver(self, result: Result) -> None:
        """Answer `result`, if its frame came this way; callable from any thread."""
        if result.source == messages.BROKER_SOURCE and result.request_id is not None:
            refused = f"{result.refusal}: {result.detail}" if result.refusal else ""
            self._reply(result.request_id, self._answers.answer(result), refused)

    def adjust(self, section: IntakeSection) -> None:
        """Admit frames by another section from now on."""
        self._section = section

    def close(self, refusal: Refusal, detail: str) -> None:
        """Answer what is still open with `refusal`."""
        with self._lock:
            still_open = list(self._open.items())
        for request_id, request in still_open:
            self._refuse(request_id, request, Rejection(refusal, detail))

    def status(self) -> dict[str, Any]:
        """For ``stats``."""
        return {
            "filter": self._shared,
            "taken": self._taken,
            "answered": self._answered,
            "held": len(self._open),
        }

    def _refuse(self, request_id: int, request: _Request, denial: Rejection) -> None:
        self._on_refused(denial.refusal)
        answer = self._answers.refuse(denial.refusal, denial.detail, request.id, denial.retry_ms)
        self._reply(request_id, answer, f"{denial.refusal}: {denial.detail}")

    def _reply(self, request_id: int, data: bytes, refused: str) -> None:
        with self._lock:
            request = self._open.pop(request_id, None)
        if request is None:
            return
        self._answered += 1
        acknowledge = partial(self._link.acknowledge, request.receipt)
        if can_be_published_to(request.response_topic):
            properties = {DAEMON: self._name}
            self._link.publish(
                Outgoing(
                    request.response_topic,
                    data,
                    correlation=request.correlation,
                    properties=properties,
                    on_done=acknowledge,
                )
            )
            return
        # Nobody waits for it: its result is published like every other.
        if request.response_topic:
            self._complaints.warn(
                "response topic",
                f"a frame of {shown(request.topic)} cannot be answered: nothing can be published to its "
                f"response topic `{shown(request.response_topic)}`",
            )
        elif refused:
            what = f"a frame of {shown(request.topic)}, which has no response topic, is refused: {refused}"
            self._complaints.warn("refused silently", what)
        acknowledge()


def can_be_published_to(topic: str) -> bool:
    """Whether somebody else's response topic is one; those that begin with $ are the broker's own."""
    return (
        bool(topic)
        and not topic.startswith("$")
        and not any(each in topic for each in "+#\0\ufffd")
        and topic.count("/") < MOST_LEVELS
        and len(topic.encode()) <= 65_535
    )
