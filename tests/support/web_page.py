"""A page of the web UI in a browser, with its complaints."""

from __future__ import annotations

from playwright.sync_api import Page

PATIENCE_MS = 60_000
PHONE = {"width": 360, "height": 740}
EVENTS = {"allow": ["*"], "threshold": 0.3, "frames": 1, "needed": 1}
"""Nearly every photograph has an event."""


class Look:
    """A page that is looked at, and everything that it complains of."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.size_bytes = 0
        page.on("console", lambda message: self._note(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("response", self._count)
        page.goto(url)

    def _note(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def _count(self, response) -> None:
        self.size_bytes += int(response.headers.get("content-length", 0))

    def __getitem__(self, id: str):
        return self.page.locator(f"#{id}")

    def labels(self) -> list[str]:
        return self["bars"].locator("span:nth-child(2)").all_text_contents()


def has_ink(page: Page, selector: str) -> bool:
    """Whether something is drawn on a canvas."""
    return bool(
        page.evaluate(
            "selector => { const c = document.querySelector(selector + ' canvas');"
            " return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(each => each); }",
            selector,
        )
    )
