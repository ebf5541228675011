"""What Home Assistant is told: keys that it documents, and templates that give what it expects."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jinja2 import Environment, StrictUndefined

from incv3d.transports.mqtt.discovery import Device, discovery_payload, discovery_topic
from incv3d.transports.mqtt.topics import Topics

TOPICS = Topics("home/incv3d", "green-house")
DEVICE = Device(
    TOPICS, "inception-v3", ["camera.door", "camera.tree"], ["camera.door"], ["camera"], True, True
)

ROOT = {"device", "origin", "components"}
"""https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload, as far as it is of use here."""
ABOUT_DEVICE = {"identifiers", "name", "manufacturer", "model", "sw_version"}
ABOUT_ORIGIN = {"name", "sw_version"}
EVERY = {"platform", "unique_id", "name", "icon", "entity_category", "device_class"}
AVAILABILITY = ({"availability_topic"}, {"availability", "availability_mode"})
"""Either excludes the other; in the root, either would exclude both of a component."""
ATTRIBUTES = {"json_attributes_topic", "json_attributes_template"}
VALUE = {"state_topic", "value_template"}
REQUIRED: dict[str, set[str]] = {
    "binary_sensor": {"state_topic"},
    "button": {"command_topic"},
    "event": {"state_topic", "event_types"},
    "image": {"image_topic"},
    "number": {"command_topic"},
    "sensor": {"state_topic"},
    "switch": {"command_topic"},
}
OPTIONAL: dict[str, set[str]] = {
    "binary_sensor": VALUE | ATTRIBUTES | {"payload_on", "payload_off"},
    "button": {"payload_press", "command_template"},
    "event": {"value_template"},
    "image": {"content_type"},
    "number": VALUE | {"min", "max", "step", "mode", "command_template"},
    "sensor": VALUE | ATTRIBUTES | {"state_class", "unit_of_measurement"},
    "switch": VALUE | {"payload_on", "payload_off", "state_on", "state_off"},
}
CLASSES = {"binary_sensor": {"problem"}, "sensor": {"duration", "temperature"}}
UNITS = {"duration": {"ms"}, "temperature": {"°C"}}
STATE: dict[str, Any] = {
    "health": "the Session failed 2 times in a row",
    "problem": "the Session failed 2 times in a row",
    "paused": True,
    "threshold": 0.4,
    "fps": 1.5,
    "run_p50_ms": 612.5,
    "run_p95_ms": None,
    "temp_c": 61.2,
    "throttled": 0x50005,
    "source": "refused",
    "source_reason": "bad_image: damaged JPEG: Premature end of JPEG file",
    "sources": {"camera": "refused", "gate": "ok"},
    "reasons": {"camera": "bad_image: damaged JPEG: Premature end of JPEG file"},
}
RESULT = {"label": "tench", "score": 0.75, "at": "2026-01-31T12:00:00.000Z", "predictions": [{"score": 0.75}]}


@pytest.fixture
def payload() -> dict[str, Any]:
    return json.loads(discovery_payload(DEVICE))


def rendered(template: str, **said: Any) -> str:
    """As Home Assistant renders a value template."""
    return Environment(undefined=StrictUndefined).from_string(template).render(**said)


def test_its_topic_is_that_of_a_device() -> None:
    assert discovery_topic("homeassistant", TOPICS) == "homeassistant/device/home_incv3d_green-house/config"


def test_every_key_is_documented(payload) -> None:
    assert payload.keys() == ROOT
    assert payload["device"].keys() == ABOUT_DEVICE and payload["origin"].keys() == ABOUT_ORIGIN
    for key, component in payload["components"].items():
        platform = component["platform"]
        assert {each for each in component if each.startswith("availability")} in AVAILABILITY, key
        component = {name: value for name, value in component.items() if not name.startswith("availability")}
        assert component.keys() >= REQUIRED[platform] | {"unique_id", "name"}, key
        assert component.keys() <= EVERY | REQUIRED[platform] | OPTIONAL[platform], key
        assert component.get("entity_category") in (None, "diagnostic", "config"), key
        if device_class := component.get("device_class"):
            assert device_class in CLASSES[platform], key
            assert component.get("unit_of_measurement") in UNITS.get(device_class, {None}), key


def test_what_is_read_only_is_no_configuration(payload) -> None:
    for component in payload["components"].values():
        if component["platform"] in ("sensor", "binary_sensor", "image"):
            assert component.get("entity_category") != "config"


def test_ids_are_unique_and_belong_to_the_daemon(payload) -> None:
    other = Device(Topics("home/incv3d", "shed"), "inception-v3", ["camera"], [], ["camera"], True, True)
    ids = [
        component["unique_id"]
        for each in (payload, json.loads(discovery_payload(other)))
        for component in each["components"].values()
    ]
    assert len(set(ids)) == len(ids)


def test_a_daemon_without_a_camera_shows_what_it_has() -> None:
    found = json.loads(discovery_payload(Device(TOPICS, "m", [], [], [], False, False)))["components"]
    assert found.keys() == {"classifying", "threshold", "latency", "latency_p95", "fps", "problem"}


@pytest.mark.parametrize(
    ("component", "state"),
    [
        ("classifying", "off"),
        ("threshold", "0.4"),
        ("latency", "612.5"),
        ("latency_p95", "None"),  # which Home Assistant takes for unknown
        ("fps", "1.5"),
        ("problem", "ON"),
        ("camera", "refused"),
        ("temperature", "61.2"),
        ("throttled", "ON"),
    ],
)
def test_the_state_is_read_as_it_is_published(payload, component, state) -> None:
    template = payload["components"][component]["value_template"]
    assert rendered(template, value_json=STATE) == state


def test_what_is_well_is_read_as_well(payload) -> None:
    well = {**STATE, "health": "ok", "problem": None, "paused": False, "throttled": 0x50000}
    states = {
        name: rendered(payload["components"][name]["value_template"], value_json=well)
        for name in ("classifying", "problem", "throttled")
    }
    assert states == {"classifying": "on", "problem": "OFF", "throttled": "OFF"}


def test_what_comes_from_a_camera_is_available_while_daemon_and_camera_work(payload) -> None:
    for name in ("label_camera_door", "label_camera_tree", "image_camera"):
        component = payload["components"][name]
        alive, works = component["availability"]
        assert alive == {"topic": "home/incv3d/green-house/availability"}
        assert works["topic"] == "home/incv3d/green-house/state"
        assert component["availability_mode"] == "all"
        for state in ("ok", "refused", "stalled", "absent", "asleep", "opening"):
            said = rendered(works["value_template"], value_json={"sources": {"camera": state, "gate": "ok"}})
            assert said == ("online" if state == "ok" else "offline")


def test_each_of_several_cameras_has_its_state_and_why() -> None:
    names = ["camera", "gate"]
    found = json.loads(discovery_payload(Device(TOPICS, "m", names, [], names, False, False)))["components"]
    shown = {}
    for key in ("camera_camera", "camera_gate"):
        state, reason = (found[key][name] for name in ("value_template", "json_attributes_template"))
        shown[found[key]["name"]] = (
            rendered(state, value_json=STATE),
            json.loads(rendered(reason, value_json=STATE))["reason"],
        )
    assert shown == {
        "camera camera": ("refused", STATE["reasons"]["camera"]),
        "gate camera": ("ok", None),
    }


def test_a_label_has_its_score_and_the_others_beside_it(payload) -> None:
    component = payload["components"]["label_camera_door"]
    assert component["state_topic"] == "home/incv3d/green-house/result/camera.door"
    assert rendered(component["value_template"], value_json=RESULT) == "tench"
    assert rendered(component["value_template"], value_json={**RESULT, "label": None}) == "none"
    assert len(rendered(component["value_template"], value_json={**RESULT, "label": "x" * 999})) == 255
    attributes = json.loads(rendered(component["json_attributes_template"], value_json=RESULT))
    assert attributes["score"] == 0.75 and attributes["predictions"] == [{"score": 0.75}]


def test_an_event_has_its_type_where_home_assistant_looks_for_it(payload) -> None:
    component = payload["components"]["event_camera_door"]
    entered = {"v": 1, "event": "entered", "label": "tench", "score": 0.75}
    found = json.loads(rendered(component["value_template"], value_json=entered))
    assert found["event_type"] in component["event_types"] and found["label"] == "tench"


def test_commands_are_those_that_the_daemon_knows(payload) -> None:
    from incv3d.transports.mqtt.commands import parse

    components = payload["components"]
    switch, number = components["classifying"], components["threshold"]
    said = [switch["payload_on"], switch["payload_off"], components["snapshot"]["payload_press"]]
    said.append(rendered(number["command_template"], value=0.4))
    assert [parse(each.encode()).word for each in said] == ["resume", "pause", "snapshot", "threshold"]
