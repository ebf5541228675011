"""The page of the real daemon in a real Chromium."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from incv3d.images.demo import demo_folder
from processes import PATIENCE_S
from web_page import PATIENCE_MS, PHONE, has_ink

pytestmark = pytest.mark.slow

LARGEST_PAGE = 300_000
"""Bytes of all that a browser loads before the page stands."""
CAT = demo_folder() / "cat.jpg"
PHOTOGRAPHS = {"espresso": "coffee.jpg", "Egyptian cat": "cat.jpg", "tripod": "photographer.jpg"}

expect.set_options(timeout=PATIENCE_MS)


def size_of(name: str) -> tuple[int, int]:
    """Of a bundled photograph."""
    with Image.open(demo_folder() / name) as image:
        return image.size


def test_it_shows_picture_labels_run_times_events_and_state(demo: str, look) -> None:
    seen = look(demo)
    expect(seen["state"]).to_have_text("ready")
    expect(seen["image"]).to_be_visible()
    expect(seen["bars"].locator("li")).to_have_count(5)
    expect(seen["best"]).to_have_text(re.compile(r"^.+ \d+ %$"))
    expect(seen["age"]).to_have_text(re.compile(r"^\d+(\.\d)? s ago$"))
    expect(seen["percentiles"]).to_have_text(re.compile(r"^p50 .+ ms p95 .+ ms p99 .+ ms $"))
    expect(seen["tiles"]).to_contain_text("source demo")
    expect(seen["tiles"]).to_contain_text("classified")
    expect(seen["event-list"].locator("img").first).to_be_visible()
    expect(seen["counted"]).to_have_text(re.compile(r"latest \d+ runs"))
    assert has_ink(seen.page, "#chart") and has_ink(seen.page, "#histogram")
    assert seen.size_bytes < LARGEST_PAGE
    assert not seen.complaints


@pytest.mark.parametrize("options", [{}, {"viewport": PHONE, "is_mobile": True, "has_touch": True}])
def test_the_history_shows_what_was_seen(demo: str, look, options: dict[str, object]) -> None:
    seen = look(f"{demo}/history/page", **options)
    # The daemon writes the history once a minute.
    expect(seen["visits"].locator("li").first).to_be_visible(timeout=2 * PATIENCE_MS)
    expect(seen["labels"]).to_contain_text("demo")
    expect(seen["counts-total"]).to_have_text(re.compile(r"^\d+ by hour$"))
    label = seen["labels"].locator("td").first.text_content()
    seen["label"].select_option(label)
    expect(seen["labels"].locator("tr")).to_have_count(1)
    seen["period"].select_option("30d")
    expect(seen["counts"].locator("rect")).to_have_count(31)
    assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert seen.size_bytes < LARGEST_PAGE
    assert not seen.complaints


def test_the_labels_belong_to_the_picture_that_is_shown(demo: str, look) -> None:
    seen = look(demo)
    sizes = {label: size_of(name) for label, name in PHOTOGRAPHS.items()}
    found = set()
    expect(seen["image"]).to_be_visible()
    deadline = time.monotonic() + PATIENCE_S
    while found != sizes.keys():
        assert time.monotonic() < deadline, f"of all pictures only {found} were shown"
        # Read at one moment: a second later there is another picture.
        best, alt, bars, size = seen.page.evaluate(
            """() => {
                const picture = document.getElementById("image");
                const text = (id) => document.getElementById(id).textContent;
                const size = [picture.width, picture.height];
                return [text("best"), picture.ariaLabel, text("bars"), size];
            }"""
        )
        label = next((label for label in sizes if best.startswith(label)), None)
        if label:
            assert label in alt and label in bars and tuple(size) == sizes[label]
            found.add(label)
    assert not seen.complaints


def test_it_fits_on_a_phone(demo: str, look) -> None:
    seen = look(demo, viewport=PHONE, is_mobile=True, has_touch=True)
    expect(seen["image"]).to_be_visible()
    expect(seen["bars"].locator("li")).to_have_count(5)
    width = seen.page.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE["width"], "nothing is wider than the screen"
    assert not seen.complaints


def test_a_picture_that_is_chosen_is_classified(demo: str, look) -> None:
    seen = look(demo)
    seen["file"].set_input_files(CAT)
    expect(seen["verdict"].locator("li")).to_have_count(5)
    expect(seen["verdict"]).to_contain_text("Egyptian cat")
    expect(seen["verdict-note"]).to_contain_text("cat.jpg: run")
    assert not seen.complaints


def test_a_picture_that_is_dropped_anywhere_is_classified(demo: str, look) -> None:
    seen = look(demo)
    seen.page.evaluate(
        """async (url) => {
            const bytes = await (await fetch(url)).blob();
            const data = new DataTransfer();
            data.items.add(new File([bytes], "dropped.jpg", { type: "image/jpeg" }));
            const target = document.getElementById("status");
            const options = { dataTransfer: data, bubbles: true, cancelable: true };
            for (const name of ["dragenter", "dragover", "drop"])
                target.dispatchEvent(new DragEvent(name, options));
        }""",
        f"{demo}/picture/demo",
    )
    expect(seen["verdict"].locator("li")).to_have_count(5)
    expect(seen["verdict-note"]).to_contain_text("dropped.jpg: run")
    expect(seen.page.locator("body")).not_to_have_class("dragging")
    assert not seen.complaints


UPLOAD_IS_TOLD = """() => {
    window.isTold = new Promise((resolve) => {
        const stream = new EventSource("/live");
        stream.addEventListener("result", (message) => {
            if (JSON.parse(message.data).source === "http") resolve(stream.close());
        });
    });
}"""
SEND = """async () => {
    const body = await (await fetch("/picture/demo")).blob();
    await fetch("/classify", { method: "POST", headers: { "X-Incv3d-Page": "1" }, body });
}"""
TWO_MINUTES_LATER = """async () => {
    const { serverClock } = await import("/page/clock.js");
    serverClock.now = () => Date.now() / 1000 + 120;
}"""


def test_an_upload_leaves_no_tab_for_any_viewer(start, look) -> None:
    url = start("--demo").url()
    uploader, viewer = look(url), look(url)
    for seen in (uploader, viewer):
        expect(seen["image"]).to_be_visible()
        seen.page.evaluate(UPLOAD_IS_TOLD)
    uploader["file"].set_input_files(CAT)
    expect(uploader["verdict"].locator("li")).to_have_count(5)
    for seen in (uploader, viewer):
        seen.page.evaluate("window.isTold")
        expect(seen["sources"]).to_be_hidden()
        expect(seen["timing"]).to_contain_text("demo: queue")
    later = look(url)
    expect(later["timing"]).to_contain_text("demo: queue")
    expect(later["sources"]).to_be_hidden()
    assert not (uploader.complaints or viewer.complaints or later.complaints)


def test_a_client_has_a_tab_while_it_sends(start, look) -> None:
    seen = look(start("--demo").url())
    expect(seen["image"]).to_be_visible()
    seen.page.evaluate(SEND)
    expect(seen["sources"].locator("button")).to_have_count(2)
    seen["sources"].locator("button", has_text="http").click()
    expect(seen["timing"]).to_contain_text("http: queue")
    seen.page.evaluate(TWO_MINUTES_LATER)
    expect(seen["sources"]).to_be_hidden()
    expect(seen["timing"]).to_contain_text("demo: queue")
    assert not seen.complaints


def test_charts_and_images_are_described_for_those_who_cannot_see_them(demo: str, look) -> None:
    seen = look(demo)
    image = r"^Image from demo: .+$"
    runs = r"^Run times of the latest \d+ runs: latest \S+ ms, p50 \S+ ms, p95 \S+ ms, p99 \S+ ms$"
    histogram = (
        r"^Histogram of the latest \d+ run times: from \S+ ms to \S+ ms, "
        r"most often \(\d+ times\) about \S+ ms$"
    )
    for id, words in (("image", image), ("chart", runs), ("histogram", histogram)):
        expect(seen[id]).to_have_role("img")
        expect(seen[id]).to_have_accessible_name(re.compile(words))
    names = ["Latest image", "Predictions", "Run time", "Histogram of run times", "Status", "Events"]
    for name in [*names, "Classify an image"]:
        expect(seen.page.get_by_role("region", name=re.compile(f"^{name}"))).to_be_visible()
    chart = seen["chart"].get_attribute("aria-label")
    expect(seen["chart"]).not_to_have_attribute("aria-label", chart)  # it follows the runs


def test_a_label_that_left_is_shown_as_it_entered(demo: str, look) -> None:
    seen = look(demo)
    row = seen["event-list"].locator(".left", has=seen.page.locator("img")).first
    expect(row).to_contain_text(re.compile(r"left \(after \d+ s, best score 0\.\d\d\)"))
    expect(row.locator("img")).to_have_attribute("alt", re.compile("when it entered$"))
    width = row.locator("img").evaluate("async (img) => { await img.decode(); return img.naturalWidth; }")
    assert width > 0
    assert not seen.complaints


def test_what_is_no_picture_is_said_to_be_none(demo: str, look, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.jpg"
    wrong.write_bytes(b"not a picture at all")
    seen = look(demo)
    seen["file"].set_input_files(wrong)
    expect(seen["verdict-note"]).to_have_text("wrong.jpg: bad_image: not a JPEG, PNG, WebP or BMP image")
    expect(seen["verdict"].locator("li")).to_have_count(0)


def test_regions_are_drawn_and_can_be_chosen(start, look) -> None:
    daemon = start("--demo", source={"regions": {"left": [0, 0, 0.5, 1], "right": [0.5, 0, 0.5, 1]}})
    seen = look(daemon.url())
    expect(seen["sources"].locator("button")).to_have_count(2)
    expect(seen["region"]).to_be_visible()
    picture, left = seen["image"].bounding_box(), seen["region"].bounding_box()
    assert abs(left["x"] - picture["x"]) < 3 and abs(left["width"] - picture["width"] / 2) < 3
    seen["sources"].locator("button", has_text="demo.right").click()
    expect(seen["timing"]).to_contain_text("demo.right")
    right = seen["region"].bounding_box()
    assert abs(right["x"] - (picture["x"] + picture["width"] / 2)) < 3
    assert not seen.complaints


def test_it_says_that_the_daemon_is_away_and_goes_on_when_it_is_back(start, look, tmp_path: Path) -> None:
    daemon = start("--demo")
    url = daemon.url()
    seen = look(url)
    expect(seen["image"]).to_be_visible()
    assert daemon.stop() == 0
    expect(seen["trouble"]).to_contain_text("The data shown are old")
    expect(seen.page.locator("body")).to_have_class("stale")
    again = start("--demo", http={"bind": url.removeprefix("http://")})
    again.ready()
    expect(seen["trouble"]).to_be_hidden()
    expect(seen["state"]).to_have_text("ready")
    expect(seen["tiles"]).to_contain_text("uptime")


def test_a_daemon_that_comes_back_without_its_camera_shows_no_picture_of_before(start, look) -> None:
    daemon = start("--demo")
    url = daemon.url()
    seen = look(url)
    expect(seen["image"]).to_be_visible()
    assert daemon.stop() == 0
    start(http={"bind": url.removeprefix("http://")}).ready()
    expect(seen["waiting"]).to_contain_text("No camera is configured")
    expect(seen["image"]).to_be_hidden()
    expect(seen["bars"].locator("li")).to_have_count(0)


def test_a_page_that_nobody_looks_at_is_told_nothing(demo: str, look, browser: Browser) -> None:
    seen = look(demo)
    expect(seen["image"]).to_be_visible()
    hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
    hide += "document.dispatchEvent(new Event('visibilitychange'))"
    with seen.page.expect_event("requestfailed", lambda request: request.url.endswith("/live")):
        seen.page.evaluate(hide % "true")
    with seen.page.expect_request("**/live"):
        seen.page.evaluate(hide % "false")
    expect(seen["state"]).to_have_text("ready")


def test_a_daemon_without_a_camera_says_what_it_waits_for(start, look) -> None:
    seen = look(start().url())
    expect(seen["waiting"]).to_contain_text(
        "No camera is configured; frames can arrive over ZeroMQ, MQTT or HTTP."
    )
    expect(seen["quiet"]).to_contain_text("No labels are watched")
    seen["file"].set_input_files(CAT)
    expect(seen["best"]).to_contain_text("Egyptian cat")


def test_a_camera_that_is_absent_is_named(start, look, tmp_path: Path) -> None:
    daemon = start(source={"type": "v4l2", "path": "/dev/video99", "name": "gate"})
    seen = look(daemon.url())
    expect(seen["waiting"]).to_contain_text("the source gate is absent")
    expect(seen["tiles"]).to_contain_text("absent")
    expect(seen["tiles"].locator("dd.warn").first).to_contain_text("absent")


def test_a_reload_takes_away_what_another_source_saw_and_nothing_else(start, look, tmp_path: Path) -> None:
    both = {"left": [0, 0, 0.5, 1], "right": [0.5, 0, 0.5, 1]}
    source = {"type": "images", "path": str(demo_folder()), "name": "demo"}
    daemon = start(source=source | {"regions": both})
    url = daemon.url()
    daemon.ready()
    seen = look(url)
    expect(seen["sources"].locator("button")).to_have_count(2)
    sections = {"http": {"bind": "127.0.0.1:0"}, "source": source | {"regions": both}}
    config = tmp_path / "incv3d.yaml"
    config.write_text(json.dumps(sections | {"model": {"top_k": 3}}))
    daemon.signal(signal.SIGHUP)
    daemon.wait_for("configuration: model.top_k")
    expect(seen["sources"].locator("button")).to_have_count(2)
    config.write_text(json.dumps(sections | {"model": {"top_k": 3}, "source": source}))
    daemon.signal(signal.SIGHUP)
    daemon.wait_for("configuration: source.regions")
    expect(seen["sources"]).to_be_hidden()
    expect(seen["timing"]).to_contain_text("demo: queue")
    expect(seen["region"]).to_be_hidden()
    assert not seen.complaints
