"""What Home Assistant is told of a daemon, so that it shows up there as a device by itself.

One retained message for the whole device, as Home Assistant takes it since 2024.11:
https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from incv3d import __version__
from incv3d.transports.mqtt.topics import Topics

LABEL = "{{ (value_json.label or 'none')[:255] }}"
"""A state has 255 characters at most."""
DETAILS = (
    "{{ {'score': value_json.score, 'at': value_json.at, 'predictions': value_json.predictions} | tojson }}"
)

EVENT = "{{ dict(value_json, event_type=value_json.event) | tojson }}"


@dataclass(frozen=True, slots=True)
class Device:
    """What there is to show of a daemon."""

    topics: Topics
    model: str
    """The network."""
    sources: Sequence[str]
    """Whose results there are; a region is ``camera.feeder``."""
    eventful: Sequence[str]
    """Those of which it is told what enters and leaves."""
    pictures: Sequence[str]
    """The sources of which there are pictures."""
    has_temperature: bool
    has_throttling: bool


def discovery_topic(prefix: str, topics: Topics) -> str:
    """Where Home Assistant looks for the message about this daemon."""
    return f"{prefix}/device/{_id(topics)}/config"


def discovery_payload(device: Device) -> bytes:
    """The message about `device`, as JSON."""
    topics = device.topics
    return msgspec.json.encode(
        {
            "device": {
                "identifiers": [_id(topics)],
                "name": f"incv3d {topics.name}",
                "manufacturer": "incv3d",
                "model": device.model,
                "sw_version": __version__,
            },
            "origin": {"name": "incv3d", "sw_version": __version__},
            "availability_topic": topics.availability,
            "components": _components(device),
        }
    )


def _components(device: Device) -> dict[str, dict[str, Any]]:
    topics = device.topics
    found: dict[str, dict[str, Any]] = {
        "classifying": {
            "platform": "switch",
            "name": "Classifying",
            "icon": "mdi:eye",
            "state_topic": topics.state,
            "value_template": "{{ 'off' if value_json.paused else 'on' }}",
            "state_on": "on",
            "state_off": "off",
            "command_topic": topics.command,
            "payload_on": "resume",
            "payload_off": "pause",
        },
        "threshold": {
            "platform": "number",
            "name": "Threshold",
            "icon": "mdi:gauge",
            "state_topic": topics.state,
            "value_template": "{{ value_json.threshold }}",
            "command_topic": topics.command,
            "command_template": "threshold {{ value }}",
            "min": 0,
            "max": 1,
            "step": 0.01,
            "mode": "box",
            "entity_category": "config",
        },
        "latency": _measured(
            topics, "Latency", "run_p50_ms", device_class="duration", unit_of_measurement="ms"
        ),
        "latency_p95": _measured(
            topics, "Latency p95", "run_p95_ms", device_class="duration", unit_of_measurement="ms"
        ),
        "fps": _measured(
            topics, "Frames per second", "fps", unit_of_measurement="fps", icon="mdi:speedometer"
        ),
        "problem": {
            "platform": "binary_sensor",
            "name": "Problem",
            "device_class": "problem",
            "entity_category": "diagnostic",
            "state_topic": topics.state,
            "value_template": "{{ 'OFF' if value_json.health == 'ok' else 'ON' }}",
            "json_attributes_topic": topics.state,
            "json_attributes_template": "{{ {'health': value_json.health} | tojson }}",
        },
    }
    if device.has_temperature:
        found["temperature"] = _measured(
            topics, "Temperature", "temp_c", device_class="temperature", unit_of_measurement="°C"
        )
    if device.has_throttling:
        found["throttled"] = {
            "platform": "binary_sensor",
            "name": "Throttled",
            "device_class": "problem",
            "entity_category": "diagnostic",
            "state_topic": topics.state,
            "value_template": "{{ 'ON' if value_json.throttled | int(0) % 16 else 'OFF' }}",
        }
    for source in device.sources:
        found[f"label_{_word(source)}"] = {
            "platform": "sensor",
            "name": f"{source} label",
            "icon": "mdi:image-search",
            "state_topic": topics.result(source),
            "value_template": LABEL,
            "json_attributes_topic": topics.result(source),
            "json_attributes_template": DETAILS,
        }
    for source in device.eventful:
        found[f"event_{_word(source)}"] = {
            "platform": "event",
            "name": f"{source} events",
            "icon": "mdi:motion-sensor",
            "state_topic": topics.event(source),
            "value_template": EVENT,
            "event_types": ["entered", "left"],
        }
    for source in device.pictures:
        found[f"image_{_word(source)}"] = {
            "platform": "image",
            "name": source,
            "image_topic": topics.image(source),
            "content_type": "image/jpeg",
        }
    if device.pictures:
        found["camera"] = {
            "platform": "sensor",
            "name": "Camera",
            "icon": "mdi:cctv",
            "entity_category": "diagnostic",
            "state_topic": topics.state,
            "value_template": "{{ value_json.source }}",
            "json_attributes_topic": topics.state,
            "json_attributes_template": "{{ {'reason': value_json.source_reason} | tojson }}",
        }
        found["snapshot"] = {
            "platform": "button",
            "name": "Snapshot",
            "icon": "mdi:camera",
            "command_topic": topics.command,
            "payload_press": "snapshot",
        }
    return {key: {**value, "unique_id": f"{_id(topics)}_{key}"} for key, value in found.items()}


def _measured(topics: Topics, name: str, key: str, **more: str) -> dict[str, Any]:
    return {
        "platform": "sensor",
        "name": name,
        "state_class": "measurement",
        "entity_category": "diagnostic",
        "state_topic": topics.state,
        "value_template": f"{{{{ value_json.{key} }}}}",
        **more,
    }


def _id(topics: Topics) -> str:
    """Letters, digits, - and _ alone, and no other daemon's."""
    return f"{_word(topics.prefix)}_{topics.name}"


def _word(text: str) -> str:
    return "".join(each if each.isascii() and each.isalnum() else "_" for each in text)
