"""A real daemon and a real broker: what is published, what is obeyed, and what a broker's absence costs."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable

from paho.mqtt import publish

from doubles import jpeg
from incv3d.client import Client
from incv3d.images.demo import demo_folder
from incv3d.transports.mqtt.transport import STATE_INTERVAL_S
from mqtt_daemon import CAMERA, DISCOVERY, facts, ready_to_listen
from waiting import until


def test_results_state_and_discovery_are_published(broker, listen, start_daemon) -> None:
    listener = listen(broker)
    daemon = start_daemon(broker, source=CAMERA)
    result = json.loads(listener.next("incv3d/pi/result/camera").payload)
    assert (result["label"], result["model"], result["source"]) == ("label 1", "scripted", "camera")
    # What is retained is there for who comes later.
    late = listen(broker)
    assert late.next("incv3d/pi/availability").payload == b"online"
    device = json.loads(late.next(DISCOVERY).payload)
    assert device["device"]["model"] == "scripted" and "label_camera" in device["components"]
    states = listen(broker, "incv3d/pi/state")
    state = json.loads(states.next("incv3d/pi/state").payload)
    while state["source"] == "opening":  # as it was when it was published first
        state = json.loads(states.next("incv3d/pi/state").payload)
    assert (state["state"], state["health"], state["paused"], state["source"]) == ("ready", "ok", False, "ok")
    assert daemon.stop() == 0
    assert late.next("incv3d/pi/availability").payload == b"offline"


def test_what_enters_is_published_and_home_assistant_told_of_it(broker, listen, start_daemon) -> None:
    listener = listen(broker)
    daemon = start_daemon(broker, source=CAMERA, events={"allow": ["label 1"]})
    event = json.loads(listener.next("incv3d/pi/event/camera").payload)
    assert (event["event"], event["label"], event["source"]) == ("entered", "label 1", "camera")
    device = json.loads(listen(broker).next(DISCOVERY).payload)
    assert "event_camera" in device["components"]
    assert daemon.stop() == 0
    event = json.loads(listener.next("incv3d/pi/event/camera").payload)
    assert (event["event"], event["reason"]) == ("left", "stopping")


def test_another_source_is_told_of_when_the_configuration_is_read_again(broker, listen, start_daemon) -> None:
    daemon = start_daemon(broker, source=CAMERA)
    ready_to_listen(daemon)
    listener = listen(broker)
    listener.publish("incv3d/pi/command", b"pause")
    until(lambda: facts(daemon)["paused"], "it is not paused")
    text = daemon.config.read_text().replace('"type": "images"', '"name": "door", "type": "images"')
    daemon.config.write_text(text)
    daemon.signal(signal.SIGHUP)
    while "label_door" not in json.loads(listener.next(DISCOVERY).payload)["components"]:
        pass
    # It is as paused as the one before.
    until(lambda: facts(daemon)["source"]["frames"] > 3, "the new source brings nothing")
    assert not any(message.topic == "incv3d/pi/result/door" for message in listener.seen)
    listener.publish("incv3d/pi/command", b"resume")
    listener.next("incv3d/pi/result/door")


def test_nothing_is_told_to_home_assistant_unasked(broker, listen, start_daemon) -> None:
    listener = listen(broker)
    start_daemon(broker, {"discovery": ""}, source=CAMERA)
    listener.next("incv3d/pi/state")
    listener.next("incv3d/pi/result/camera")
    assert not any(message.topic.startswith("homeassistant") for message in listener.seen)


def test_the_broker_says_that_a_killed_daemon_is_offline(broker, listen, start_daemon) -> None:
    listener = listen(broker, "incv3d/pi/availability")
    daemon = start_daemon(broker)
    listener.next("incv3d/pi/availability", b"online")
    daemon.signal(signal.SIGKILL)
    listener.next("incv3d/pi/availability", b"offline")


def test_a_flood_of_pauses_ends_as_the_last_one_says_and_floods_no_log(broker, listen, start_daemon) -> None:
    listener = listen(broker)
    daemon = start_daemon(broker, source=CAMERA)
    ready_to_listen(daemon)
    for _ in range(500):
        listener.publish("incv3d/pi/command", b"pause")
        listener.publish("incv3d/pi/command", b"resume")
    listener.publish("incv3d/pi/command", b"pause")
    # Asked again: until the last command has come, it may be paused by an earlier one.
    until(lambda: all(facts(daemon)["paused"] for _ in range(20)), "it is not paused")
    assert daemon.stop() == 0
    assert sum("paused:" in line or "resumed" in line for line in daemon.said) < 10


def test_a_camera_is_paused_and_goes_on(broker, listen, start_daemon) -> None:
    listener = listen(broker)
    daemon = start_daemon(broker, source=CAMERA)
    listener.next("incv3d/pi/result/camera")
    ready_to_listen(daemon)
    listener.publish("incv3d/pi/command", b"pause")
    until(lambda: facts(daemon)["paused"], "it is not paused")
    while not json.loads(listener.next("incv3d/pi/state").payload)["paused"]:
        pass
    classified = facts(daemon)["outcomes"]["ok"]
    captured = facts(daemon)["source"]["frames"]
    until(lambda: facts(daemon)["source"]["frames"] > captured + 5, "the camera stands still")
    assert facts(daemon)["outcomes"]["ok"] <= classified + 1  # one may have been on its way
    with Client(daemon.door) as client:  # who asks is answered all the same
        assert client.classify(jpeg()).predictions
    listener.publish("incv3d/pi/command", b"resume")
    until(lambda: facts(daemon)["outcomes"]["ok"] > classified + 5, "it does not go on")
    assert facts(daemon)["paused"] is False


def test_a_film_stands_still_meanwhile(broker, listen, start_daemon) -> None:
    film = {**CAMERA, "every_frame": True, "loop": False, "fps": 50}
    listener = listen(broker)
    # A run takes as long as it takes to be paused in the middle of the four pictures.
    daemon = start_daemon(broker, {}, 300, source=film)
    listener.next("incv3d/pi/result/camera")
    ready_to_listen(daemon)
    listener.publish("incv3d/pi/command", b"pause")
    until(lambda: facts(daemon)["paused"], "it is not paused")
    listener.publish("incv3d/pi/command", b"resume")
    daemon.wait_for("has no more frames")
    pictures = len(list(demo_folder().glob("*.jpg")))
    until(lambda: facts(daemon)["outcomes"]["ok"] == pictures, "a frame of the film is missing")


def test_a_snapshot_is_the_picture_of_the_camera(broker, listen, start_daemon) -> None:
    listener = listen(broker)
    daemon = start_daemon(broker, source=CAMERA)
    ready_to_listen(daemon)
    listener.publish("incv3d/pi/command", b"snapshot")
    picture = listener.next("incv3d/pi/image/camera").payload
    assert picture in [path.read_bytes() for path in demo_folder().glob("*.jpg")]


def test_a_snapshot_while_paused_is_what_the_camera_shows_now(broker, listen, start_daemon) -> None:
    listener = listen(broker)
    daemon = start_daemon(broker, source=CAMERA)
    ready_to_listen(daemon)
    listener.publish("incv3d/pi/command", b"pause")
    until(lambda: facts(daemon)["paused"], "it is not paused")
    classified = facts(daemon)["outcomes"]["ok"]
    listener.publish("incv3d/pi/command", b"snapshot")
    picture = listener.next("incv3d/pi/image/camera").payload
    assert picture in [path.read_bytes() for path in demo_folder().glob("*.jpg")]
    assert facts(daemon)["paused"] and facts(daemon)["outcomes"]["ok"] <= classified + 1


def test_a_film_that_stands_still_has_a_snapshot_too(broker, listen, start_daemon) -> None:
    film = {**CAMERA, "every_frame": True, "loop": True}
    listener = listen(broker)
    daemon = start_daemon(broker, source=film)
    ready_to_listen(daemon)
    listener.publish("incv3d/pi/command", b"pause")
    until(lambda: facts(daemon)["paused"], "it is not paused")
    listener.publish("incv3d/pi/command", b"snapshot")
    assert listener.next("incv3d/pi/image/camera").payload


def test_a_camera_that_dies_is_said_at_once_and_so_is_its_return(
    broker, listen, start_daemon, tmp_path
) -> None:
    pictures, away = tmp_path / "pictures", tmp_path / "away"
    shutil.copytree(demo_folder(), pictures)
    listener = listen(broker, "incv3d/pi/state")
    start_daemon(broker, source={**CAMERA, "path": str(pictures)})
    wait_for_problem(listener, lambda problem: problem is None)
    pictures.rename(away)
    assert wait_for_problem(listener, bool) < STATE_INTERVAL_S
    away.rename(pictures)
    wait_for_problem(listener, lambda problem: problem is None)


def wait_for_problem(listener, is_meant: Callable[[str | None], object]) -> float:
    """Wait for a state with such a problem while the camera does not open; returns the seconds."""
    began = time.monotonic()
    while True:
        state = json.loads(listener.next("incv3d/pi/state").payload)
        if state["source"] != "opening" and is_meant(state["problem"]):
            return time.monotonic() - began


def test_pictures_are_published_where_they_are_asked_for(broker, listen, start_daemon) -> None:
    listener = listen(broker)
    start_daemon(broker, {"image": True}, source={**CAMERA, "transform": "rotate90"})
    assert listener.next("incv3d/pi/image/camera").payload.startswith(b"\xff\xd8\xff")


def test_a_threshold_is_changed_and_shown(broker, listen, start_daemon) -> None:
    listener = listen(broker)
    daemon = start_daemon(broker, source=CAMERA)
    ready_to_listen(daemon)
    listener.publish("incv3d/pi/command", b"threshold 0.8")
    while json.loads(listener.next("incv3d/pi/result/camera").payload)["label"] is not None:
        pass
    until(lambda: json.loads(listener.next("incv3d/pi/state").payload)["threshold"] == 0.8, "not shown")


def test_what_is_no_command_is_said_and_does_nothing(broker, listen, start_daemon) -> None:
    listener = listen(broker)
    daemon = start_daemon(broker)
    ready_to_listen(daemon)
    listener.publish("incv3d/pi/command", b"reboot")
    assert "unknown command `reboot`; possible are pause," in daemon.wait_for("reboot")


def test_a_retained_command_of_yesterday_is_not_obeyed(broker, start_daemon) -> None:
    publish.single("incv3d/pi/command", "pause", 1, True, "127.0.0.1", broker.port)
    daemon = start_daemon(broker)
    ready_to_listen(daemon)
    assert facts(daemon)["paused"] is False
