"""A camera as Home Assistant shows it: at work, dead, back again, paused."""

from __future__ import annotations

from home_assistant import HomeAssistant

LIMIT_S = 15.0
"""By then a camera that has died is shown as dead, and one that is back as alive."""


def camera(path, **more) -> dict:
    return {"type": "images", "path": str(path), "fps": 10, **more}


def test_a_dead_camera_is_a_problem_and_shows_no_label_until_it_is_back(
    home: HomeAssistant, start_daemon, pictures, tmp_path
) -> None:
    start_daemon("solo", {"image": True}, source=camera(pictures, name="cam"))
    problem, label = "binary_sensor.incv3d_solo_problem", "sensor.incv3d_solo_cam_label"
    image, state = "image.incv3d_solo_cam", "sensor.incv3d_solo_camera"
    home.wait_for(label, "label 1")
    home.wait_for(image, lambda shown: shown not in ("", "unknown", "unavailable"))
    home.wait_for(problem, "off")
    pictures.rename(tmp_path / "away")
    home.wait_for(problem, "on", LIMIT_S)
    for each in (label, image):
        home.wait_for(each, "unavailable", LIMIT_S)
    assert home.state(state) == "absent" and home.facts(state)["attributes"]["reason"]
    assert "cam: absent: " in home.facts(problem)["attributes"]["problem"]
    (tmp_path / "away").rename(pictures)
    home.wait_for(problem, "off", LIMIT_S)
    home.wait_for(label, "label 1", LIMIT_S)
    home.wait_for(image, lambda shown: shown != "unavailable", LIMIT_S)


def test_one_dead_camera_of_two_is_named_and_the_other_goes_on(
    home: HomeAssistant, start_daemon, pictures, tmp_path
) -> None:
    door, gate = tmp_path / "door", pictures
    door.symlink_to(pictures)
    start_daemon("duo", sources=[camera(gate, name="gate"), camera(door, name="door")])
    home.wait_for("sensor.incv3d_duo_door_label", "label 1")
    home.wait_for("sensor.incv3d_duo_gate_label", "label 1")
    door.unlink()
    home.wait_for("sensor.incv3d_duo_door_label", "unavailable", LIMIT_S)
    home.wait_for("binary_sensor.incv3d_duo_problem", "on", LIMIT_S)
    assert home.state("sensor.incv3d_duo_gate_label") == "label 1"
    assert home.state("sensor.incv3d_duo_gate_camera") == "ok"
    home.wait_for("sensor.incv3d_duo_door_camera", "absent", LIMIT_S)


def test_all_is_unavailable_when_the_daemon_is_gone(home: HomeAssistant, start_daemon, pictures) -> None:
    daemon = start_daemon("gone", source=camera(pictures, name="cam"), events={"allow": ["label 1"]})
    entities = (
        "sensor.incv3d_gone_cam_label",
        "event.incv3d_gone_cam_events",
        "switch.incv3d_gone_classifying",
    )
    for entity in entities:
        home.wait_for(entity, lambda state: state not in ("", "unavailable"))
    daemon.kill()
    for entity in entities:
        home.wait_for(entity, "unavailable")


def test_a_paused_camera_is_shown_on_request(home: HomeAssistant, start_daemon, pictures) -> None:
    start_daemon("still", source=camera(pictures, name="cam"))
    switch, image = "switch.incv3d_still_classifying", "image.incv3d_still_cam"
    home.wait_for(switch, "on")
    home.act("switch", "turn_off", entity_id=switch)
    home.wait_for(switch, "off")
    assert home.state(image) == "unknown"
    home.act("button", "press", entity_id="button.incv3d_still_snapshot")
    home.wait_for(image, lambda shown: shown != "unknown")
    shown = home.call("GET", home.facts(image)["attributes"]["entity_picture"])
    assert shown in [path.read_bytes() for path in pictures.glob("*.jpg")]
    home.act("switch", "turn_on", entity_id=switch)
    home.wait_for(switch, "on")
