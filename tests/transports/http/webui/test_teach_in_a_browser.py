"""The page that teaches, of the real daemon in a real Chromium: from the first picture to a correction."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageEnhance
from playwright.sync_api import Browser, expect

from incv3d.images.demo import demo_folder
from processes import DaemonProcess
from web_page import Look

pytestmark = pytest.mark.slow

PATIENCE_MS = 60_000
DESK = {"viewport": {"width": 1280, "height": 900}}
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
VIEWS = 14
REGIONS = {"left": [0.0, 0.0, 0.5, 1.0], "right": [0.5, 0.0, 0.5, 1.0]}

expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images whose left half always shows a cat, and whose right half a cup, never twice in the same way."""
    folder = tmp_path_factory.mktemp("scene")
    cat, cup = (Image.open(demo_folder() / name).convert("RGB") for name in ("cat.jpg", "coffee.jpg"))
    for number in range(VIEWS):
        whole = Image.new("RGB", (640, 320))
        for at, image in enumerate((cat, cup)):
            width, height = image.size
            cut = 0.05 + 0.02 * number
            part = image.crop(
                (int(cut * width / 2), int(cut * height / 3), int(width * (1 - cut / 2)), height)
            )
            if number % 2:
                part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            part = ImageEnhance.Brightness(part).enhance(0.8 + 0.03 * number)
            whole.paste(part.resize((320, 320)), (320 * at, 0))
        whole.save(folder / f"{number}.jpg", quality=92)
    return folder


@pytest.fixture
def state(state: Path, tmp_path: Path) -> Path:
    """A store with the embedded model, which a test may change."""
    own = tmp_path / "state"
    shutil.copytree(state, own, copy_function=os.link)
    return own


@pytest.fixture
def url(start: Callable[..., DaemonProcess], scene: Path) -> Iterator[str]:
    """The address of a daemon that looks at the scene; it keeps what it is taught in a store of its own."""
    source = {"type": "images", "path": str(scene), "fps": 4, "loop": True, "regions": REGIONS}
    daemon = start(source=source)
    address = daemon.url()
    daemon.ready()
    yield address
    assert daemon.stop() == 0


@pytest.fixture(params=[DESK, PHONE], ids=["desktop", "phone"])
def page(request: pytest.FixtureRequest, browser: Browser, url: str) -> Iterator[Look]:
    context = browser.new_context(locale="en-GB", **request.param)
    context.set_default_timeout(PATIENCE_MS)
    yield Look(context.new_page(), f"{url}/teach")
    context.close()


def test_a_person_teaches_two_classes_uses_them_corrects_one_and_trains_again(page: Look) -> None:
    page["name"].fill("mine")
    page["begin-form"].get_by_role("button").click()
    expect(page["source"].locator("option")).to_have_count(2)
    for name, region in (("cat", "camera.left"), ("cup", "camera.right")):
        page["source"].select_option(region)
        page["new-class"].fill(name)
        page["class-form"].get_by_role("button").click()
        hold(page, name)
    width = page.page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.page.viewport_size["width"], "nothing is wider than the screen"

    page["train"].click()
    expect(page["report"]).to_contain_text("take pictures of every class at another time")
    page["use"].click()
    expect(page["now-label"]).to_have_text(re.compile(r"^cup \d+ %$"))
    page["source"].select_option("camera.left")
    expect(page["now-label"]).to_have_text(re.compile(r"^cat \d+ %$"))

    # One picture of the cat becomes a cup by mistake, and is put back.
    page["shown-class"].select_option("cat")
    cats = page["classes"].locator("[data-class=cat] small")
    before = cats.text_content()
    page["thumbnails"].locator("button").first.click()
    page["move"].select_option("cup")
    expect(page["summary"]).to_contain_text("1 correction")
    page["undo"].click()
    expect(cats).to_have_text(before)
    page["thumbnails"].locator("button").first.click()
    page["delete"].click()
    expect(cats).not_to_have_text(before)
    page["train"].click()
    expect(page["summary"]).to_have_text("All pictures are taught.")
    expect(page["now-label"]).to_have_text(re.compile(r"^cat \d+ %$"))
    assert not page.complaints


def hold(page: Look, name: str) -> None:
    """Hold the button of a class until it has ten pictures or more, as with a finger or a mouse."""
    button = page["classes"].locator(f"[data-class={name}]")
    button.dispatch_event("pointerdown", {"button": 0})
    expect(button.locator("small")).to_have_text(re.compile(r"^\d\d pictures$"))
    button.dispatch_event("pointerup", {"bubbles": True})
