"""The Home Assistant discovery message: with it, the daemon appears there as a device.

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
"""A state has at most 255 characters."""
DETAILS = (
    "{{ {'score': value_json.score, 'at': value_json.at, 'predictions': value_json.predictions} | tojson }}"
)

PROBLEM_DETAILS = "{{ {'health': value_json.health, 'problem': value_json.problem} | tojson }}"

EVENT = "{{ dict(value_json, event_type=value_json.event) | tojson }}"


@dataclass(frozen=True, slots=True)
class Device:
    """What a daemon offers to Home Assistant."""

    topics: Topics
    model: str
    """The name of the model."""
    sources: Sequence[str]
    """Sources with results; a region is ``camera.feeder``."""
    event_sources: Sequence[str]
    """Sources whose enter and leave events are published."""
    image_sources: Sequence[str]
    """Sources whose images are published."""
    has_temperature: bool
    has_throttling: bool


def discovery_topic(prefix: str, topics: Topics) -> str:
    """Return the topic of the message about this daemon."""
    return f"{prefix}/device/{_id(topics)}/config"


def discovery_payload(device: Device) -> bytes:
    """Return the message about `device`, as JSON."""
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
            "components": _components(device),
        }
    )


Components = dict[str, dict[str, Any]]


def _components(device: Device) -> Components:
    topics = device.topics
    found = {
        **_controls(topics),
        **_measurements(topics),
        **_problem(topics),
        **_machine(device),
        **_sources(device),
        **_cameras(device),
    }
    common = {"availability_topic": topics.availability}
    return {
        key: {**(common if "availability" not in value else {}), **value, "unique_id": f"{_id(topics)}_{key}"}
        for key, value in found.items()
    }


def _controls(topics: Topics) -> Components:
    return {
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
    }


def _measurements(topics: Topics) -> Components:
    latency = {"device_class": "duration", "unit_of_measurement": "ms"}
    rate = {"unit_of_measurement": "fps", "icon": "mdi:speedometer"}
    return {
        "latency": _measured(topics, "Latency", "run_p50_ms", **latency),
        "latency_p95": _measured(topics, "Latency p95", "run_p95_ms", **latency),
        "fps": _measured(topics, "Frames per second", "fps", **rate),
    }


def _problem(topics: Topics) -> Components:
    return {
        "problem": {
            "platform": "binary_sensor",
            "name": "Problem",
            "device_class": "problem",
            "entity_category": "diagnostic",
            "state_topic": topics.state,
            "value_template": "{{ 'ON' if value_json.problem else 'OFF' }}",
            "json_attributes_topic": topics.state,
            "json_attributes_template": PROBLEM_DETAILS,
        }
    }


def _machine(device: Device) -> Components:
    found: Components = {}
    if device.has_temperature:
        temperature = {"device_class": "temperature", "unit_of_measurement": "°C"}
        found["temperature"] = _measured(device.topics, "Temperature", "temp_c", **temperature)
    if device.has_throttling:
        found["throttled"] = {
            "platform": "binary_sensor",
            "name": "Throttled",
            "device_class": "problem",
            "entity_category": "diagnostic",
            "state_topic": device.topics.state,
            "value_template": "{{ 'ON' if value_json.throttled | int(0) % 16 else 'OFF' }}",
        }
    return found


def _sources(device: Device) -> Components:
    topics = device.topics
    found: Components = {}
    for source in device.sources:
        found[f"label_{_word(source)}"] = {
            "platform": "sensor",
            "name": f"{source} label",
            "icon": "mdi:image-search",
            "state_topic": topics.result(source),
            "value_template": LABEL,
            "json_attributes_topic": topics.result(source),
            "json_attributes_template": DETAILS,
            **_works(topics, source),
        }
    for source in device.event_sources:
        found[f"event_{_word(source)}"] = {
            "platform": "event",
            "name": f"{source} events",
            "icon": "mdi:motion-sensor",
            "state_topic": topics.event(source),
            "value_template": EVENT,
            "event_types": ["entered", "left"],
        }
    for source in device.image_sources:
        found[f"image_{_word(source)}"] = {
            "platform": "image",
            "name": source,
            "image_topic": topics.image(source),
            "content_type": "image/jpeg",
            **_works(topics, source),
        }
    return found


def _cameras(device: Device) -> Components:
    topics, names = device.topics, device.image_sources
    found: Components = {}
    for name in names:
        key, title = ("camera", "Camera") if len(names) == 1 else (f"camera_{_word(name)}", f"{name} camera")
        found[key] = {
            "platform": "sensor",
            "name": title,
            "icon": "mdi:cctv",
            "entity_category": "diagnostic",
            "state_topic": topics.state,
            "value_template": f"{{{{ {_of('sources', name)} }}}}",
            "json_attributes_topic": topics.state,
            "json_attributes_template": f"{{{{ {{'reason': {_of('reasons', name)}}} | tojson }}}}",
        }
    if names:
        found["snapshot"] = {
            "platform": "button",
            "name": "Snapshot",
            "icon": "mdi:camera",
            "command_topic": topics.command,
            "payload_press": "snapshot",
        }
    return found


def _works(topics: Topics, source: str) -> dict[str, Any]:
    """Return that an entity is available while the daemon is there and the camera of `source` works.

    Home Assistant takes these keys for one component only if the message as a whole has none of them.
    """
    camera = source.partition(".")[0]
    works = f"{{{{ 'online' if {_of('sources', camera)} == 'ok' else 'offline' }}}}"
    return {
        "availability": [{"topic": topics.availability}, {"topic": topics.state, "value_template": works}],
        "availability_mode": "all",
    }


def _of(key: str, camera: str) -> str:
    """Return the expression for what the state's `key` says of a camera, none if nothing."""
    return f"value_json.{key}.get('{camera}')"


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
    """Return an id that no other daemon has, of letters, digits, - and _."""
    return f"{_word(topics.prefix)}_{topics.name}"


def _word(text: str) -> str:
    return "".join(each if each.isascii() and each.isalnum() else "_" for each in text)
