"""Generated frames over MQTT, by a real broker.

Every frame with QoS 1 or 2, a response topic and properties that fit has to get exactly one answer there,
with its correlation data. Beside them come frames that nobody can be answered, or that the broker drops,
frames that do not need to arrive (QoS 0), and commands; none of it may disturb the connection.
"""

from __future__ import annotations

import json
import queue
import random
import threading
import time
from dataclasses import dataclass
from typing import Any

from fuzzer import MAX_MESSAGE_BYTES, PATIENCE_S, VALUES, Fuzzer, GoodFrame, some_picture
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from all_doors import FRAMES, NAME, AllDoors
from incv3d.frames import CHANNELS
from incv3d.transports.mqtt.message import LARGEST_PROPERTIES
from message_strategies import PICTURES

ANSWERS = "fuzz/answers"
FRAMES_A_ROUND = 40
UNDER_WAY = 5
"""More than the daemon holds at once, so that some are answered `busy`."""
TOKEN_BYTES = 8
"""Of the correlation data; the rest of it is anything."""
LONGEST_ID = 200
TEXT = "abc 019.-/_é日𝄞\ufeff\u00a0'\"{}[]\\"
"""Characters that Mosquitto lets through; it hangs up at control characters."""
WORDS = ["id", "encoding", "width", "height", "captured_at", "age_ms", "ttl_ms", "top_k", "v", "op", "daemon"]
NOT_TOPICS = ["", "a/+/b", "#", "$SYS/broker", "a" + "/a" * 150, "a" * 65_000]
OWN_TOPICS = [f"{FRAMES}/again", *(f"incv3d/{NAME}/{word}" for word in ("command", "state", "result/camera"))]
COMMANDS = ["resume", "snapshot", "threshold 0.4", "threshold nan", "threshold", "", "pause it", "x" * 5000]
"""Without `pause`, after which the daemon takes no frames from the broker."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A frame whose answer is awaited."""

    topic: str
    correlation: bytes
    id: str | None
    is_id_known: bool
    """Whether the answer must have this id."""
    is_good: bool = False


class MqttFuzzer(Fuzzer):
    """One client of the broker, which sends frames and hears the answers."""

    name = "MQTT"

    def __init__(self, doors: AllDoors, good: GoodFrame, end: threading.Event) -> None:
        super().__init__(doors, good, end)
        self._arrived: queue.SimpleQueue[MQTTMessage] = queue.SimpleQueue()
        self._awaited: dict[bytes, Sent] = {}
        self._count = 0
        self._lost: list[str] = []
        ready = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe(f"{ANSWERS}/#", qos=1)
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.on_message = lambda _client, _data, message: self._arrived.put(message)
        self._client.on_disconnect = lambda _c, _d, _flags, reason, _p: self._lost.append(str(reason))
        self._client.connect("127.0.0.1", doors.broker.port)
        self._client.loop_start()
        assert ready.wait(PATIENCE_S), "the broker does not answer"

    def round(self, seed: int) -> None:
        """Send some frames, wait for all the answers, and send a good one."""
        rng = random.Random(seed)
        for _ in range(FRAMES_A_ROUND):
            self._wait_until(UNDER_WAY - 1)
            self._send(rng)
            if rng.random() < 0.2:
                self._misbehave(rng)
        self._wait_until(0)
        while not self._classify():
            pass
        assert not self._lost, f"the broker hung up on the fuzzer: {self._lost}"
        connected = self.doors.broker.said.count(f"as incv3d-{NAME} ")
        assert connected == 1, f"the daemon connected {connected} times to the broker"

    def close(self) -> None:
        """See that nothing more comes."""
        try:
            late = self._arrived.get(timeout=0.5)
        except queue.Empty:
            late = None
        self._client.disconnect()
        self._client.loop_stop()
        assert late is None, f"an answer too many came: {late.payload[:300]!r}"

    def _send(self, rng: random.Random) -> None:
        words = some_words(rng)
        payload = some_payload(rng, words)
        size = sum(len(name.encode()) + len(value.encode()) + 5 for name, value in words)
        tail = rng.randbytes(rng.choice([0, 0, 0, 10, 200, 3000, 30_000]))
        ids = [value for name, value in words if name == "id"]
        is_id_known = size + len(tail) < LARGEST_PROPERTIES // 2 and all(len(id) <= LONGEST_ID for id in ids)
        topic = f"{ANSWERS}/{some_text(rng, 12).replace('/', '')}{rng.choice(['', '/', '//a', '/a' * 90])}"
        self._publish(
            f"{FRAMES}/{rng.choice(['x', 'a/b', '', 'é', 'a' * 500])}",
            payload,
            rng.choice([1, 1, 1, 2]),
            rng.random() < 0.1,
            Sent(topic, self._token() + tail, ids[-1] if ids else None, is_id_known),
            some_properties(rng, words),
        )
        self.sent["frames"] += 1

    def _publish(
        self, topic: str, payload: bytes, qos: int, retain: bool, sent: Sent, properties: Properties
    ) -> None:
        properties.ResponseTopic = sent.topic
        properties.CorrelationData = sent.correlation
        self._awaited[sent.correlation[:TOKEN_BYTES]] = sent
        self._client.publish(topic, payload, qos, retain, properties)

    def _token(self) -> bytes:
        self._count += 1
        return self._count.to_bytes(TOKEN_BYTES, "big")

    def _classify(self) -> bool:
        """Send the good frame; whether it got its labels, or has to be sent again."""
        sent = Sent(f"{ANSWERS}/good", self._token(), "good", True, is_good=True)
        properties = Properties(PacketTypes.PUBLISH)
        properties.UserProperty = [("id", "good")]
        self._publish(f"{FRAMES}/good", self.good.picture, 1, False, sent, properties)
        before = self.good_answers
        self._wait_until(0)
        return self.good_answers > before

    def _wait_until(self, under_way: int) -> None:
        """Until no more than so many answers are awaited."""
        deadline = time.monotonic() + PATIENCE_S
        while len(self._awaited) > under_way:
            try:
                self._receive(self._arrived.get(timeout=1))
            except queue.Empty:
                assert not self._lost, f"the broker hung up on the fuzzer: {self._lost}"
                assert time.monotonic() < deadline, f"unanswered within {PATIENCE_S} s: {self._awaited}"

    def _receive(self, message: MQTTMessage) -> None:
        correlation: bytes = message.properties.CorrelationData if message.properties else b""
        sent = self._awaited.pop(correlation[:TOKEN_BYTES], None)
        assert sent, f"an answer too many, or to nobody: {message.payload[:300]!r}"
        assert correlation == sent.correlation, f"other correlation data than those of {sent}"
        assert message.topic == sent.topic, f"{message.topic} is not the response topic of {sent}"
        answer = json.loads(message.payload)
        code = self.code_of(answer)
        assert not sent.is_id_known or answer["id"] == sent.id, f"{answer} to {sent}"
        if not sent.is_good:
            self.answers[code] += 1
        elif not self.pause_if_busy(answer):
            self.expect_labels(answer)

    def _misbehave(self, rng: random.Random) -> None:
        """Frames without an answer, and commands."""
        self.uncounted += 1
        properties = some_properties(rng, some_words(rng))
        payload = some_payload(rng, [])
        match rng.randrange(6):
            case 0:  # it need not arrive
                self._client.publish(f"{FRAMES}/x", payload, 0, properties=properties)
            case 1:  # nobody can be answered, or the daemon itself would be
                if topic := rng.choice(NOT_TOPICS + OWN_TOPICS):
                    properties.ResponseTopic = topic
                self._client.publish(f"{FRAMES}/x", payload, 1, properties=properties)
            case 2:  # the broker drops it
                self._client.publish(f"{FRAMES}/x", bytes(4 * MAX_MESSAGE_BYTES), 1, properties=properties)
            case 3:  # more properties than are admitted
                properties.UserProperty = [("a", "b" * 1000)] * rng.choice([80, 300])
                self._client.publish(f"{FRAMES}/x", payload, 1, properties=properties)
            case 4:  # thousands of them
                properties.UserProperty = [("", "")] * rng.choice([1000, 20_000])
                self._client.publish(f"{FRAMES}/x", payload, 1, properties=properties)
            case _:
                command = rng.choice(COMMANDS).encode() if rng.random() < 0.5 else payload[:2000]
                topic = f"incv3d/{NAME}/command{rng.choice(['', '', '/x'])}"
                self._client.publish(topic, command, rng.randrange(3), properties=properties)


def some_text(rng: random.Random, longest: int) -> str:
    """Text that MQTT carries."""
    return "".join(rng.choice(TEXT) for _ in range(rng.randrange(longest + 1)))


def some_words(rng: random.Random) -> list[tuple[str, str]]:
    """User properties: those of a request, right or wrong, and any others."""
    words = []
    while rng.random() < 0.6:
        name = rng.choice(WORDS) if rng.random() < 0.8 else some_text(rng, 10)
        value = rng.choice(VALUES) if rng.random() < 0.7 else some_text(rng, rng.choice([5, 50, 3000]))
        words.append((name, value))
    return words


def some_payload(rng: random.Random, words: list[tuple[str, str]]) -> bytes:
    """A picture, right or wrong; or raw pixels, which `words` then tell of."""
    match rng.randrange(6):
        case 0:
            encoding, width, height = rng.choice(sorted(CHANNELS)), rng.randrange(1, 40), rng.randrange(1, 40)
            words += [("encoding", encoding), ("width", str(width)), ("height", str(height))]
            return bytes(width * height * CHANNELS[encoding] + rng.choice([0, 0, 1]))
        case 1:
            return rng.choice([b"", bytes(MAX_MESSAGE_BYTES), bytes(MAX_MESSAGE_BYTES + 1)])
        case 2 | 3:
            return PICTURES["jpeg"]
        case _:
            return some_picture(rng)


def some_properties(rng: random.Random, words: list[tuple[str, str]]) -> Properties:
    """The properties of a message, without those that an answer needs."""
    properties = Properties(PacketTypes.PUBLISH)
    given: dict[str, Any] = {
        "MessageExpiryInterval": rng.choice([100, 2**32 - 1]),
        "PayloadFormatIndicator": rng.randrange(2),
        "ContentType": some_text(rng, 30),
    }
    for name in given:
        if rng.random() < 0.2:
            setattr(properties, name, given[name])
    if words:
        properties.UserProperty = words
    return properties
