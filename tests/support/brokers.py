"""A real Mosquitto on a free port, and a client that listens to it."""

from __future__ import annotations

import contextlib
import queue
import shutil
import socket
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from waiting import until

PATIENCE_S = 30.0
MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")


def need_mosquitto() -> str:
    """Where it is; skips the test when it is not there."""
    if MOSQUITTO is None:
        pytest.skip("needs a broker: apt-get install mosquitto")
    return MOSQUITTO


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class MosquittoBroker:
    """Mosquitto, which can be stopped and started again on its port.

    :param lines: of its configuration, besides the port.
    """

    def __init__(self, folder: Path, *lines: str) -> None:
        self.port = free_port()
        self._program = need_mosquitto()
        self._config = folder / f"mosquitto-{self.port}.conf"
        # As root it would become another user, who cannot read what the test has written.
        lines = lines or ("allow_anonymous true",)
        self._config.write_text("\n".join([f"listener {self.port} 127.0.0.1", "user root", *lines]) + "\n")
        self._log = folder / f"mosquitto-{self.port}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def said(self) -> str:
        return self._log.read_text()

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([self._program, "-v", "-c", str(self._config)], stderr=log)
        until(self._answers, f"mosquitto does not listen: {self.said}")

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait()
        self._process = None


class Listener:
    """A client that remembers every message of a topic filter."""

    def __init__(self, port: int, filter_: str = "#", **settings: Any) -> None:
        self._arrived: queue.SimpleQueue[MQTTMessage] = queue.SimpleQueue()
        self._ready: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._puback: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
        self.seen: list[MQTTMessage] = []
        self._client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe(filter_, qos=1)
        self._client.on_subscribe = lambda *_: self._ready.put(True)
        self._client.on_message = lambda _client, _data, message: self._arrived.put(message)
        self._client.on_publish = lambda _c, _d, number, reason, _p: self._puback.put((number, reason))
        if "username" in settings:
            self._client.username_pw_set(settings["username"], settings["password"])
        if "ca_file" in settings:
            self._client.tls_set(settings["ca_file"])
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._ready.get(timeout=PATIENCE_S)

    def next(self, topic: str, payload: bytes | None = None) -> MQTTMessage:
        """The next message of `topic`, with this payload if it is given; others before it are passed over."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                message = self._arrived.get(timeout=1)
                self.seen.append(message)
                if message.topic == topic and payload in (None, message.payload):
                    return message
        heard = Counter(message.topic for message in self.seen)
        raise AssertionError(f"nothing of {topic}; it has heard {dict(heard)}")

    def publish(self, topic: str, payload: bytes, qos: int = 1, **properties: Any) -> Any:
        """Publish; returns the broker's reason code."""
        extras = Properties(PacketTypes.PUBLISH)
        for name, value in properties.items():
            setattr(extras, name, value)
        number = self._client.publish(topic, payload, qos, properties=extras).mid
        found, reason = self._puback.get(timeout=PATIENCE_S)
        assert found == number
        return reason

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
