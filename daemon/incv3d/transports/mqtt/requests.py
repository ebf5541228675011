"""Consume frames from a shared subscription, and answer them: the broker gives each to one daemon of a fleet.

The subscription is shared (``$share/GROUP/FILTER``). A daemon that holds as many frames as it may answers
further ones ``busy`` (see :mod:`.busy_answers`), and their senders send them again: the broker gives them to
the next daemon. So frames go to daemons with room, which are the fast ones more often, and none grows old in
a queue. MQTT's own back-pressure would not do that alone: Mosquitto 2 hands frames out in turn, keeps up to
1000 for a daemon whose Receive Maximum is reached, and forgets them when it dies.

A frame is acknowledged when the broker has its answer. If a daemon dies before, a broker may give its frames
to another one (MQTT 5, 4.8.2). Mosquitto forgets them: a sender sends a frame again if there is no answer.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from incv3d.config.intake import IntakeSection
from incv3d.frames import Frame, FrameId, Refusal, Result
from incv3d.protocol import messages
from incv3d.protocol.clocks import SenderClocks
from incv3d.transports.admission import Admission, Rejection
from incv3d.transports.mqtt.busy_answers import BusyAnswers
from incv3d.transports.mqtt.complaints import Complaints, shown
from incv3d.transports.mqtt.connection import BrokerConnection
from incv3d.transports.mqtt.message import Message, Receipt
from incv3d.transports.mqtt.outbox import Outgoing
from incv3d.transports.mqtt.request_message import frame_of, id_of
from incv3d.transports.pending import Answer, PendingRequests

MOST_LEVELS = 100
"""Levels of a response topic: brokers disconnect a client that publishes to deeper ones (Mosquitto: 200)."""
REQUEST_BYTES = 500
"""The memory of what is kept of a request beyond its texts."""
DAEMON = "daemon"
"""The user property of an answer that names the daemon."""


@dataclass(frozen=True, slots=True)
class _Request:
    """What is kept of a frame that has no answer yet."""

    receipt: Receipt
    topic: str
    response_topic: str
    correlation: bytes | None
    id: FrameId

    @property
    def size_bytes(self) -> int:
        """Return about how much memory it takes."""
        texts = (self.topic, self.response_topic, str(self.id))
        return REQUEST_BYTES + sum(len(each.encode()) for each in texts) + len(self.correlation or b"")


class FrameConsumer:
    """Take frames from the broker, and publish an answer for each.

    :param filter_: the topics of the frames.
    :param group: the group of daemons that share them.
    :param room: the most frames without an answer.
    :param name: the name of this daemon, for the answers.
    :param section: the limits for frames.
    :param admission: queues a frame, or rejects it.
    :param identity: returns the names of model and engine.
    :param queue_depth: returns how many frames wait.
    :param complaints: logs frames whose sender cannot be answered.
    :param on_rejected: called for every frame that does not reach the pipeline.
    """

    def __init__(
        self,
        connection: BrokerConnection,
        filter_: str,
        group: str,
        room: int,
        name: str,
        section: IntakeSection,
        admission: Admission,
        identity: Callable[[], tuple[str, str]],
        queue_depth: Callable[[], int],
        complaints: Complaints,
        on_rejected: Callable[[Refusal], None],
    ) -> None:
        self._connection = connection
        self._shared = f"$share/{group}/{filter_}"
        self._room = room
        self._name = name
        self._section = section
        self._admission = admission
        self._complaints = complaints
        self._pending = PendingRequests[_Request](
            messages.BROKER_SOURCE, identity, queue_depth, on_rejected, self._send
        )
        self._clocks = SenderClocks()
        self._is_wanted = False
        self._is_subscribed = False
        self._busy = BusyAnswers()
        self._taken = self._answered = self._results = 0

    def set_subscribed(self, is_wanted: bool) -> None:
        """Take frames from now on, or no more. Any thread may call this."""
        self._is_wanted = is_wanted
        self._connection.wake()

    def connected(self) -> None:
        """Note that there is a new connection, without subscriptions."""
        self._is_subscribed = False

    def poll(self) -> float | None:
        """Subscribe or unsubscribe, as wanted, and send the `busy` answers that are due.

        :returns: seconds until it wants to be called again; None: whenever something happens.
        """
        if self._is_wanted != self._is_subscribed:
            self._is_subscribed = self._is_wanted
            if self._is_subscribed:
                self._connection.subscribe(self._shared, qos=1)
            else:
                self._connection.unsubscribe(self._shared)
        for request_id in self._busy.take(time.monotonic(), self._results):
            self._pending.reject(request_id, self._admission.busy(self._held()))
        return self._busy.wait_s()

    def receive(self, message: Message) -> None:
        """Queue the frame of a message, or reject it."""
        self._taken += 1
        held = self._held()
        request = _Request(
            message.receipt, message.topic, message.response_topic, message.correlation, id_of(message)
        )
        request_id = self._pending.add(request)
        try:
            frame = self._frame(message)
            if held < self._room:
                rejection = self._admission.admit(replace(frame, request_id=request_id))
            else:
                rejection = self._admission.busy(held)
        except messages.BadRequest as error:
            rejection = Rejection(error.refusal, str(error))
        except Exception as error:  # noqa: BLE001 - whatever arrives must cost that frame alone
            self._complaints.warn(
                "frame not handled", f"a frame of {shown(message.topic)} could not be handled", error
            )
            rejection = Rejection(Refusal.INTERNAL, "the daemon failed at it; see its log")
        if rejection and not (
            rejection.refusal is Refusal.BUSY and self._busy.put(request_id, request.size_bytes)
        ):
            self._pending.reject(request_id, rejection)

    def deliver(self, result: Result) -> None:
        """Answer `result`, if its frame came over MQTT. Any thread may call this."""
        self._pending.deliver(result)

    def reconfigure(self, section: IntakeSection) -> None:
        """Apply new limits."""
        self._section = section

    def close(self, refusal: Refusal, detail: str) -> None:
        """Answer all open requests with `refusal`."""
        self._pending.reject_all(Rejection(refusal, detail))

    def status(self) -> dict[str, Any]:
        """Return counts of frames, for ``stats``."""
        return {
            "filter": self._shared,
            "taken": self._taken,
            "answered": self._answered,
            "held": len(self._pending),
        }

    def _held(self) -> int:
        """Return the number of frames that wait for their result."""
        return len(self._pending) - len(self._busy)

    def _frame(self, message: Message) -> Frame:
        received = time.monotonic()
        # The broker does not say who sent it; senders that wait for an answer differ in their response topic.
        sender = hashlib.blake2b((message.response_topic or message.topic).encode(), digest_size=16).digest()
        where = f"the broker ({shown(message.topic)})"
        now = messages.Clocks(
            received, time.time(), partial(self._clocks.age_s, sender, lambda: where, received)
        )
        return frame_of(message, now, self._section.ttl_ms, self._section.max_message_bytes)

    def _send(self, request: _Request, answer: Answer) -> None:
        self._answered += 1
        self._results += answer.rejection is None
        acknowledge = partial(self._connection.acknowledge, request.receipt)
        if can_be_published_to(request.response_topic):
            self._connection.publish(
                Outgoing(
                    request.response_topic,
                    answer.data,
                    correlation=request.correlation,
                    properties={DAEMON: self._name},
                    on_done=acknowledge,
                )
            )
            return
        # No sender waits for an answer: the result is published like all others.
        if request.response_topic:
            self._complaints.warn(
                "response topic",
                f"a frame of {shown(request.topic)} cannot be answered: nothing can be published to its "
                f"response topic `{shown(request.response_topic)}`",
            )
        elif rejection := answer.rejection:
            self._complaints.warn(
                "refused silently",
                f"a frame of {shown(request.topic)}, which has no response topic, is rejected: "
                f"{rejection.refusal}: {rejection.detail}",
            )
        acknowledge()


def can_be_published_to(topic: str) -> bool:
    """Return whether an answer can be published to a response topic; those with $ belong to the broker."""
    return (
        bool(topic)
        and not topic.startswith("$")
        and not any(each in topic for each in "+#\0\ufffd")
        and topic.count("/") < MOST_LEVELS
        and len(topic.encode()) <= 65_535
    )
