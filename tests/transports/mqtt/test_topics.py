"""The topics of a daemon, and which filters for frames would take what daemons publish."""

from __future__ import annotations

import socket

import pytest

from incv3d.transports.errors import SettingError
from incv3d.transports.mqtt.topics import Topics, check_frames, own_name

TOPICS = Topics("incv3d", "shed")


def test_a_daemon_publishes_and_listens_under_its_prefix_and_its_name() -> None:
    assert TOPICS.availability == "incv3d/shed/availability"
    assert TOPICS.state == "incv3d/shed/state"
    assert TOPICS.command == "incv3d/shed/command"
    assert TOPICS.result("gate") == "incv3d/shed/result/gate"
    assert TOPICS.event("gate.left") == "incv3d/shed/event/gate.left"
    assert TOPICS.image("gate") == "incv3d/shed/image/gate"


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("greenhouse", "greenhouse"),
        ("pi.local", "pi"),
        ("pi+#/3", "pi---3"),
        ("", "incv3d"),
        ("Pi_3-b", "Pi_3-b"),
    ],
)
def test_a_daemon_is_called_as_its_host_unless_it_has_a_name(
    monkeypatch: pytest.MonkeyPatch, host: str, name: str
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    assert own_name("") == name
    assert own_name("shed") == "shed"


@pytest.mark.parametrize(
    "filter_",
    [
        "#",
        "incv3d/#",
        "incv3d/shed/#",
        "incv3d/shed/result/+",
        "incv3d/shed/event/+",
        "incv3d/shed/image/+",
        "incv3d/shed/state",
        "incv3d/shed/availability",
        "incv3d/shed/command",
        "incv3d/+/state",
        "incv3d/shed/result/mqtt",
        "incv3d/shed/event/gate",
        "incv3d/shed/image/gate",
        "incv3d/+/image/gate",
        "+/shed/image/gate",
        "+/+/result/+",
        "+/+/+",
    ],
)
def test_frames_cannot_come_from_where_daemons_publish(filter_: str) -> None:
    with pytest.raises(SettingError) as caught:
        check_frames(filter_, TOPICS)
    assert str(caught.value) == f"mqtt.frames: `{filter_}` would take what daemons publish for frames"


@pytest.mark.parametrize(
    "filter_",
    ["frames", "frames/#", "cameras/+/frame", "incv3d/frames", "incv3d/+", "+", "incv3d/shed/frames/mqtt"],
)
def test_frames_can_come_from_anywhere_else(filter_: str) -> None:
    check_frames(filter_, TOPICS)
