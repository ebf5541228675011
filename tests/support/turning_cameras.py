"""Three cameras that a daemon uses in turn: an MJPEG server, a watched folder, a sender of imagezmq."""

from __future__ import annotations

import itertools
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagezmq
import numpy as np

from all_doors import AllDoors
from doubles import jpeg
from incv3d.images.demo import demo_folder
from incv3d.sources.image_files import find_images
from webcams import parts, web_camera

PICTURE_EVERY_S = 0.1
KEPT_PICTURES = 20
WIDTH, HEIGHT = 320, 240


def turn_cameras(doors: AllDoors, folder: Path, each_s: float, end: threading.Event) -> int:
    """Give the daemon another camera every `each_s` seconds, until `end`; returns how often.

    The web camera ends each connection after 100 pictures, so it is opened again and again.

    :param folder: for the pictures and the socket of the cameras; must be empty.
    """
    pictures = folder / "pictures"
    pictures.mkdir()
    address = f"ipc://{folder}/imagezmq"
    works: list[Callable[[], None]] = [
        lambda: _fill(pictures, end),
        lambda: _publish(address, end),
    ]
    threads = [threading.Thread(target=work) for work in works]
    with web_camera(parts(pause_s=PICTURE_EVERY_S)) as camera:
        for thread in threads:
            thread.start()
        common = {"name": "camera", "stall_timeout_s": 5.0}
        sources: list[dict[str, Any]] = [
            {**common, "type": "video", "path": camera.url()},
            {**common, "type": "images", "path": str(pictures), "watch": True},
            {**common, "type": "imagezmq", "addresses": [address]},
        ]
        turns = 0
        for source in itertools.cycle(sources):
            doors.write_config(source=source)
            doors.daemon.signal(signal.SIGHUP)
            turns += 1
            if end.wait(each_s):
                break
    for thread in threads:
        thread.join()
    return turns


def _fill(folder: Path, end: threading.Event) -> None:
    """Put pictures into a folder, and take old ones away."""
    found = list(find_images(str(demo_folder())))
    for number in itertools.count():
        unfinished = folder / ".unfinished"
        shutil.copyfile(found[number % len(found)], unfinished)
        unfinished.rename(folder / f"{number}.jpg")
        (folder / f"{number - KEPT_PICTURES}.jpg").unlink(missing_ok=True)
        if end.wait(PICTURE_EVERY_S):
            return


def _publish(address: str, end: threading.Event) -> None:
    """Publish arrays and JPEGs by turns."""
    sender = imagezmq.ImageSender(connect_to=address, REQ_REP=False)
    pixels = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    picture = np.frombuffer(jpeg(WIDTH, HEIGHT), np.uint8)
    for number in itertools.count():
        if number % 2:
            sender.send_image("away", pixels)
        else:
            sender.send_jpg("away", picture)
        if end.wait(PICTURE_EVERY_S):
            break
    sender.close()
