"""A daemon with a broker."""

from __future__ import annotations

from incv3d.client import Client
from incv3d.images.demo import demo_folder
from waiting import until

DISCOVERY = "homeassistant/device/incv3d_pi/config"


CAMERA = {"type": "images", "path": str(demo_folder()), "fps": 20}


def facts(daemon) -> dict:
    with Client(daemon.door) as client:
        return client.ask("stats")


def ready_to_listen(daemon) -> None:
    # The broker has what it published after it had subscribed.
    until(lambda: facts(daemon)["mqtt"]["published"], "the broker does not let it in")
