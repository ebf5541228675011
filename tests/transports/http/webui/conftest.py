"""A daemon with its page, and a real browser that looks at it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from processes import DaemonProcess
from web_page import EVENTS, PATIENCE_MS, Look


@pytest.fixture
def start(state: Path, tmp_path: Path) -> Iterator[Callable[..., DaemonProcess]]:
    """Starts the daemon with the sections of a configuration; ``words`` are added to its command."""
    started: list[DaemonProcess] = []

    def make(*words: str, **sections: object) -> DaemonProcess:
        config = tmp_path / "incv3d.yaml"
        config.write_text(json.dumps({"http": {"bind": "127.0.0.1:0"}, **sections}))
        started.append(DaemonProcess(state, tmp_path, "--config", str(config), *words))
        return started[-1]

    yield make
    for process in started:
        process.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if not program:
        pytest.skip("needs Chromium: apt-get install chromium")
    # Chromium's sandbox does not work for root.
    args = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=args)
        yield browser
        browser.close()


@pytest.fixture
def look(browser: Browser) -> Iterator[Callable[..., Look]]:
    contexts = []

    def at(url: str, **options: object) -> Look:
        contexts.append(browser.new_context(locale="en-GB", **options))
        contexts[-1].set_default_timeout(PATIENCE_MS)
        return Look(contexts[-1].new_page(), url)

    yield at
    for context in contexts:
        context.close()


@pytest.fixture(scope="module")
def demo(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a daemon that shows its bundled photographs in turn."""
    folder = tmp_path_factory.mktemp("demo")
    config = folder / "incv3d.yaml"
    config.write_text(json.dumps({"http": {"bind": "127.0.0.1:0"}, "events": EVENTS}))
    daemon = DaemonProcess(state, folder, "--config", str(config), "--demo")
    url = daemon.url()
    daemon.ready()
    yield url
    assert daemon.stop() == 0
