"""The page can be installed on a phone, as a browser sees it."""

from __future__ import annotations

import json

import pytest

from web_page import PHONE

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("path", ["/", "/history/page", "/teach"])
def test_it_can_be_installed_on_a_phone(demo: str, look, path: str) -> None:
    page = look(demo + path, viewport=PHONE, is_mobile=True, has_touch=True).page
    session = page.context.new_cdp_session(page)
    answer = session.send("Page.getAppManifest")
    assert answer["url"] == f"{demo}/page/manifest.json" and not answer["errors"]
    # A window that keeps nothing, as a test's, can install nothing; that must be all.
    errors = [
        each["errorId"] for each in session.send("Page.getInstallabilityErrors")["installabilityErrors"]
    ]
    assert set(errors) <= {"in-incognito"}, errors
    for icon in json.loads(answer["data"])["icons"]:
        assert page.request.get(demo + icon["src"]).headers["content-type"] == icon["type"]
