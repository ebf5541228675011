"""List the transports. To add one, write a subclass of Transport in a folder here, and add it to the list."""

from __future__ import annotations

from incv3d.transports.base import Transport
from incv3d.transports.http.transport import HttpTransport
from incv3d.transports.mqtt.transport import MqttTransport
from incv3d.transports.zeromq.transport import ZmqTransport

TRANSPORTS: tuple[type[Transport], ...] = (ZmqTransport, HttpTransport, MqttTransport)
"""In the order in which they are opened and closed and get each result."""
