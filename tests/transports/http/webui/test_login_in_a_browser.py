"""The login form in a real Chromium: as it comes from the daemon, and through what people put before it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from incv3d.images.demo import demo_folder
from processes import DaemonProcess
from proxies import nginx, own_address

TOKEN = "0123456789abcdef-#&="
PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 800}
PATIENCE_MS = 60_000
WITH_HOST = "proxy_set_header Host $http_host"


@pytest.fixture(scope="module")
def daemon(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a warm daemon with a token, that all addresses of this machine reach."""
    folder = tmp_path_factory.mktemp("daemon")
    (folder / "token").write_text(f"{TOKEN}\n")
    config = folder / "incv3d.yaml"
    config.write_text(f"http: {{bind: '0.0.0.0:0', token_file: {folder}/token}}\n")
    process = DaemonProcess(state, folder, "--config", str(config))
    address = process.url().replace("0.0.0.0", "127.0.0.1")
    process.ready()
    yield address
    assert process.stop() == 0


WAYS = ["directly", "by another address", "nginx", "nginx with Host", "nginx with TLS", "nginx elsewhere"]


@pytest.fixture(scope="module", params=WAYS)
def url(
    request: pytest.FixtureRequest, daemon: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """An address under which a browser reaches the daemon.

    To one that is neither loopback nor https Chromium sends no ``Sec-Fetch-Site``.
    """
    folder = tmp_path_factory.mktemp("nginx")
    with ExitStack() as stack:
        match request.param:
            case "directly":
                yield daemon
            case "by another address":
                yield daemon.replace("127.0.0.1", own_address())
            case "nginx":
                yield stack.enter_context(nginx(folder, daemon))
            case "nginx with Host":
                yield stack.enter_context(nginx(folder, daemon, WITH_HOST))
            case "nginx with TLS":
                yield stack.enter_context(nginx(folder, daemon, tls=True))
            case "nginx elsewhere":
                found = stack.enter_context(nginx(folder, daemon))
                yield found.replace("127.0.0.1", own_address())


def open_page(browser: Browser, url: str, viewport: dict[str, int]) -> Page:
    page = browser.new_page(viewport=viewport, ignore_https_errors=True)
    page.set_default_timeout(PATIENCE_MS)
    page.goto(url)
    return page


def give(page: Page, token: str) -> None:
    page.fill("#token", token)
    page.press("#token", "Enter")
    page.wait_for_load_state()


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_a_wrong_token_is_said_to_be_wrong_and_the_right_one_opens_the_page(
    url: str, browser: Browser, viewport: dict[str, int]
) -> None:
    with closing(open_page(browser, url, viewport)) as page:
        assert page.url == f"{url}/login", "a browser is sent to the form"
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        give(page, "not the token")
        assert page.url == f"{url}/login?wrong"
        expect(page.get_by_role("alert")).to_be_visible()
        give(page, TOKEN)
        assert page.url == f"{url}/"
        expect(page.locator("#state")).to_contain_text("ready", timeout=PATIENCE_MS)
        cookie = page.context.cookies()[0]
        assert cookie["httpOnly"] and cookie["sameSite"] == "Strict"
        assert cookie["secure"] == url.startswith("https")
        page.reload()
        assert page.url == f"{url}/", "the cookie lasts"


def test_who_is_logged_in_can_drop_a_picture(url: str, browser: Browser) -> None:
    with closing(open_page(browser, url, DESK)) as page:
        give(page, TOKEN)
        page.set_input_files("#file", demo_folder() / "cat.jpg")
        expect(page.locator("#verdict-note")).to_contain_text("run ", timeout=PATIENCE_MS)


EVIL = """<form method=post enctype=text/plain action="%s/classify"><button>go</button></form>
<script>
  async function ask(headers) {
    const options = { method: "POST", body: "x", credentials: "include", headers };
    return (await fetch("%s/classify", options).catch(() => null))?.status ?? "refused";
  }
</script>"""


def test_a_page_of_another_port_comes_with_the_cookie_and_is_refused(url: str, browser: Browser) -> None:
    """To a browser it is of the same site."""
    elsewhere = f"{url.rpartition(':')[0]}:9/evil.html"
    with closing(open_page(browser, url, DESK)) as page:
        give(page, TOKEN)
        page.route(elsewhere, lambda route: route.fulfill(body=EVIL % (url, url), content_type="text/html"))
        page.goto(elsewhere)
        assert page.evaluate("ask({})") == "refused"
        assert page.evaluate("ask({'X-Incv3d-Page': '1'})") == "refused"
        with page.expect_navigation() as navigation:
            page.click("button")
        assert navigation.value.status == 403


def test_who_is_logged_in_and_follows_a_link_from_another_site_need_not_log_in(
    daemon: str, browser: Browser
) -> None:
    with closing(open_page(browser, daemon, DESK)) as page:
        give(page, TOKEN)
        page.route(
            "http://elsewhere.example/",
            lambda route: route.fulfill(
                body=f'<a href="{daemon}/">the greenhouse</a>', content_type="text/html"
            ),
        )
        page.goto("http://elsewhere.example/")
        page.click("a")
        page.wait_for_url(f"{daemon}/")
        expect(page.locator("#state")).to_contain_text("ready", timeout=PATIENCE_MS)
