"""Several sources side by side: the page of the real daemon in a real Chromium."""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from incv3d.images.demo import demo_folder
from processes import DaemonProcess
from web_page import EVENTS, PATIENCE_MS, PHONE, Look

pytestmark = pytest.mark.slow

ON_A_PHONE = {"viewport": PHONE, "is_mobile": True, "has_touch": True}
LARGEST_PAGE = 300_000
HALVES = {"left": [0, 0, 0.5, 1], "right": [0.5, 0, 0.5, 1]}

expect.set_options(timeout=PATIENCE_MS)


def camera(folder: Path, name: str, image: str, **keys: object) -> dict[str, object]:
    """A source that shows one photograph all the time."""
    shown = folder / "cameras" / name
    shown.mkdir(parents=True)
    shutil.copy(demo_folder() / image, shown)
    return {"name": name, "type": "images", "path": str(shown), "fps": 2, "loop": True, **keys}


@pytest.fixture
def cameras(tmp_path: Path) -> list[dict[str, object]]:
    """A camera of which all is seen, one with two regions, one that sleeps, and one that is not there."""
    hours = [(datetime.now() + timedelta(hours=hour)).strftime("%H:%M") for hour in (3, 4)]
    return [
        camera(tmp_path, "door", "cat.jpg"),
        camera(tmp_path, "gate", "coffee.jpg", regions=HALVES),
        camera(tmp_path, "pond", "rocket.jpg", active="-".join(hours)),
        {"name": "yard", "type": "v4l2", "path": "/dev/video99"},
    ]


def card(seen: Look, name: str) -> Locator:
    return seen["cards"].get_by_role("article", name=name)


@pytest.mark.parametrize("options", [{}, ON_A_PHONE], ids=["desktop", "phone"])
def test_each_camera_has_a_card_with_what_it_sees(
    start: Callable[..., DaemonProcess],
    look: Callable[..., Look],
    cameras: list[dict[str, object]],
    options: dict[str, object],
) -> None:
    seen = look(start(sources=cameras, events=EVENTS).url(), **options)
    door, gate = card(seen, "door"), card(seen, "gate")
    expect(door.locator(".best")).to_have_text(re.compile(r"^Egyptian cat \d+ %$"))
    expect(door.locator(".age")).to_have_text(re.compile(r"^\d+(\.\d)? s ago$"))
    expect(door.locator(".state")).to_have_text("ok")
    expect(door.locator(".bars li")).to_have_count(3)
    expect(door.locator(".present")).to_have_text(re.compile(r"^Present now: .*Egyptian cat for \d+ s"))
    expect(door.get_by_role("img")).to_have_accessible_name("Image from door: Egyptian cat")
    gate.scroll_into_view_if_needed()
    expect(gate.locator(".best")).to_have_text(re.compile(r"^espresso \d+ %$"))
    expect(gate.locator(".bars li")).to_contain_text(["left: espresso", "right: "])
    expect(gate.locator("rect")).to_have_count(2)
    expect(gate.locator("text")).to_have_text(["left", "right"])
    expect(gate.locator(".present")).to_contain_text("left: espresso for")
    expect(card(seen, "pond").locator(".state")).to_have_text("asleep")
    expect(card(seen, "yard").locator(".state")).to_have_text("absent")
    expect(card(seen, "yard").locator(".waiting")).to_contain_text("absent: /dev/video99: no such device")
    expect(seen["camera"]).to_be_hidden()
    lefts = {each["x"] for each in (door.bounding_box(), gate.bounding_box()) if each}
    assert len(lefts) == (1 if options else 2), "one column on a phone"
    assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert seen.size_bytes < LARGEST_PAGE
    assert not seen.complaints


def test_images_are_loaded_only_of_cards_that_can_be_seen(
    start: Callable[..., DaemonProcess], look: Callable[..., Look], tmp_path: Path
) -> None:
    photographs = {"door": "cat.jpg", "gate": "coffee.jpg", "pond": "rocket.jpg"}
    url = start(sources=[camera(tmp_path, *each) for each in photographs.items()]).url()
    seen = look(url, **ON_A_PHONE)
    asked: list[str] = []
    seen.page.on("request", lambda request: asked.append(request.url.removeprefix(url)))
    pond = card(seen, "pond")
    for _ in range(3):
        with seen.page.expect_response("**/picture/door"):
            pass
    assert "/picture/pond" not in asked, "it is below what can be seen"
    expect(pond.locator(".state")).to_have_text("ok")
    expect(pond.get_by_role("img")).to_be_hidden()
    with seen.page.expect_response("**/picture/pond"):
        pond.scroll_into_view_if_needed()
    expect(pond.locator(".best")).not_to_be_empty()
    expect(pond.get_by_role("img")).to_be_visible()
    assert not seen.complaints


def test_a_camera_that_a_reload_removes_has_no_card_any_more(
    start: Callable[..., DaemonProcess], look: Callable[..., Look], tmp_path: Path
) -> None:
    photographs = {"door": "cat.jpg", "gate": "coffee.jpg", "pond": "rocket.jpg"}
    sources = [camera(tmp_path, *each) for each in photographs.items()]
    daemon = start(sources=sources)
    seen = look(daemon.url())
    daemon.ready()
    for name in photographs:
        expect(card(seen, name).get_by_role("img")).to_be_visible()
    sections = {"http": {"bind": "127.0.0.1:0"}}
    config = tmp_path / "incv3d.yaml"
    config.write_text(json.dumps({**sections, "sources": sources[:2]}))
    daemon.signal(signal.SIGHUP)
    expect(seen["cards"].get_by_role("article")).to_have_count(2)
    expect(card(seen, "pond")).to_have_count(0)
    config.write_text(json.dumps({**sections, "sources": sources[:1]}))
    daemon.signal(signal.SIGHUP)
    expect(seen["cards"]).to_be_hidden()
    expect(seen["best"]).to_contain_text("Egyptian cat")
    expect(seen["scores"]).to_be_visible()
    config.write_text(json.dumps({**sections, "sources": sources}))
    daemon.signal(signal.SIGHUP)
    expect(card(seen, "pond").get_by_role("img")).to_be_visible()
    assert not seen.complaints
