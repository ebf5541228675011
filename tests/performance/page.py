"""What the page takes: to load, and from the Session while somebody looks.

usage: python tests/performance/page.py MODEL [ROUNDS [SECONDS]]

Each round watches the daemon's runs for so many seconds without a viewer, with one that is a program and
reads all that a browser would, and with a real Chromium, whose own work on this machine counts as well.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

from playwright.sync_api import Browser, sync_playwright

from incv3d.client import results
from incv3d.images.demo import demo_folder
from measuring import daemon, median, table
from sse import Viewer

LOADS = 7
FIRST_PAINT = "performance.getEntriesByType('paint').find(each => each.name === 'first-paint').startTime"
FIFTH_LABEL = "#bars li:nth-child(5)"


@contextlib.contextmanager
def nobody(url: str) -> Iterator[None]:
    """Without a viewer."""
    yield


@contextlib.contextmanager
def program(url: str) -> Iterator[None]:
    """A viewer that takes every picture that it is told of."""
    viewer = Viewer(url)
    stopped = threading.Event()

    def look() -> None:
        for name, data in viewer.events():
            if stopped.is_set():
                return
            if name == "result":
                with contextlib.suppress(urllib.error.HTTPError):  # it is gone already
                    urllib.request.urlopen(f"{url}/picture/{data['source']}", timeout=20).read()

    thread = threading.Thread(target=look)
    thread.start()
    yield
    stopped.set()
    thread.join()
    viewer.close()


def chromium(browser: Browser) -> Callable[[str], contextlib.AbstractContextManager[None]]:
    """A browser that shows the page."""

    @contextlib.contextmanager
    def look(url: str) -> Iterator[None]:
        page = browser.new_page()
        page.goto(url)
        page.wait_for_selector(FIFTH_LABEL)
        yield
        page.close()

    return look


def load(browser: Browser, url: str) -> tuple[float, float, int]:
    """Milliseconds to the first paint and to the first labels, and bytes until then."""
    context = browser.new_context()
    page = context.new_page()
    sizes: list[int] = []
    page.on("response", lambda response: sizes.append(int(response.headers.get("content-length", 0))))
    page.goto(url)
    page.wait_for_selector(FIFTH_LABEL)
    shown_ms = page.evaluate("performance.now()")
    first_ms = page.evaluate(FIRST_PAINT)
    context.close()
    return first_ms, shown_ms, sum(sizes)


def run_p50_ms(address: str, seconds: float) -> float:
    """The median run of the results that are published."""
    until = time.monotonic() + seconds
    runs_ms = []
    for result in results(address):
        if time.monotonic() > until:
            return median(runs_ms)
        if result.answer.timing_ms:
            runs_ms.append(result.answer.timing_ms.run)
    raise AssertionError("results never end")


def main(model: str, rounds: int = 5, seconds: float = 10.0) -> None:
    source = {"type": "images", "path": str(demo_folder()), "fps": 100}
    config = json.dumps({"http": {"bind": "127.0.0.1:0"}, "source": source})
    args = ["--no-sandbox"] if os.geteuid() == 0 else []
    with daemon(model, config) as process, sync_playwright() as playwright:
        url = next(line for line in process.said if "health and metrics at" in line).split()[-1]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=args)
        loads = [load(browser, url) for _ in range(LOADS)]
        ways = {
            "nobody": nobody,
            "a program looks": program,
            "Chromium looks": chromium(browser),
        }
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, look in ways.items():
                with look(url):
                    run_p50_ms(process.results, 1.0)  # until it is under way
                    found[name].append(run_p50_ms(process.results, seconds))
        browser.close()
    base = found["nobody"]
    rows = [
        ("first paint, ms", f"{median([each[0] for each in loads]):.0f}", "1000"),
        ("first picture and labels, ms", f"{median([each[1] for each in loads]):.0f}", ""),
        ("bytes until then, kB", f"{median([each[2] for each in loads]) / 1000:.0f}", "300"),
        ("run p50 while nobody looks, ms", f"{median(base):.2f}", ""),
    ]
    for name in list(ways)[1:]:
        ratios = [mine / without for mine, without in zip(found[name], base, strict=True)]
        rows.append((f"run p50, {name}, over nobody", f"{median(ratios):.3f}", "1.03"))
    table(f"{model}, medians of {rounds} rounds", rows)


if __name__ == "__main__":
    main(sys.argv[1], *(kind(word) for kind, word in zip((int, float), sys.argv[2:], strict=False)))
