"""With a token, what comes through a proxy on this machine needs it: real proxies, and their real clients."""

from __future__ import annotations

import asyncio
import http.client
import json
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from incv3d.images.demo import demo_folder
from processes import PATIENCE_S, DaemonProcess
from proxies import free_port, haproxy, nginx, stunnel

TOKEN = "0123456789abcdef0123"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
CAT = demo_folder() / "cat.jpg"
SECRETS = ("/", "/metrics", "/healthz", "/readyz", "/live", "/picture/zmq", "/classify", "/nothing")
PROXIES: dict[str, Callable[[Path, str], AbstractContextManager[str]]] = {
    "nginx": nginx,
    "nginx with Host": lambda folder, url: nginx(folder, url, "proxy_set_header Host $http_host"),
    "nginx as localhost": lambda folder, url: nginx(folder, url, "proxy_set_header Host localhost"),
    "nginx with TLS": partial(nginx, tls=True),
    "haproxy": haproxy,
    "stunnel": stunnel,
}
Status = int


@pytest.fixture(scope="module")
def daemon(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a warm daemon with a token, on loopback."""
    folder = tmp_path_factory.mktemp("daemon")
    (folder / "token").write_text(f"{TOKEN}\n")
    config = folder / "incv3d.yaml"
    config.write_text(json.dumps({"http": {"bind": "127.0.0.1:0", "token_file": str(folder / "token")}}))
    process = DaemonProcess(state, folder, "--config", str(config))
    url = process.url()
    process.ready()
    yield url
    assert process.stop() == 0


@pytest.fixture(scope="module", params=["directly", *PROXIES])
def url(
    request: pytest.FixtureRequest, daemon: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    with ExitStack() as stack:
        if request.param == "directly":
            yield daemon
        else:
            folder = tmp_path_factory.mktemp("proxy")
            yield stack.enter_context(PROXIES[request.param](folder, daemon))


def ask(url: str, path: str, method: str = "GET", body: bytes | None = None, **headers: str) -> Status:
    parts = urlsplit(url)
    if parts.scheme == "https":
        context = ssl._create_unverified_context()
        made: http.client.HTTPConnection = http.client.HTTPSConnection(
            parts.netloc, timeout=PATIENCE_S, context=context
        )
    else:
        made = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE_S)
    with closing(made) as connection:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, given)
        return connection.getresponse().status


def test_nothing_can_be_had_without_the_token(url: str) -> None:
    assert {path: ask(url, path) for path in SECRETS} == dict.fromkeys(SECRETS, 401)
    assert ask(url, "/classify", "POST", CAT.read_bytes()) == 401


def test_naming_this_machine_does_not_help(url: str) -> None:
    for host in ("localhost", "127.0.0.1", "[::1]", "localhost:8080"):
        assert ask(url, "/metrics", Host=host) == 401


def test_with_the_token_everything_can_be_had(url: str) -> None:
    for path in ("/", "/metrics", "/healthz", "/readyz"):
        assert ask(url, path, **BEARER) == 200
    assert ask(url, "/classify", "POST", CAT.read_bytes(), **BEARER) == 200


def curl(*words: str) -> str:
    if not shutil.which("curl"):
        pytest.skip("needs curl: apt-get install curl")
    command = ["curl", "--silent", "--insecure", "--max-time", str(PATIENCE_S), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_curl_classifies_as_the_readme_says(url: str) -> None:
    words = ("--oauth2-bearer", TOKEN, "--data-binary", f"@{CAT}", f"{url}/classify?top_k=2")
    answer = json.loads(curl(*words))
    assert answer["status"] == "ok" and len(answer["predictions"]) == 2
    assert "http.token_file" in curl("--data-binary", f"@{CAT}", f"{url}/classify")
    assert "incv3d_frames_total" in curl("-H", f"Authorization: Bearer {TOKEN}", f"{url}/metrics")


def test_home_assistant_polls_it_with_headers(url: str) -> None:
    """Its ``rest`` sensors and ``rest_command`` send the headers that they are told, over aiohttp."""

    async def poll() -> tuple[int, str, int, dict[str, object]]:
        async with aiohttp.ClientSession(headers=BEARER) as session:
            async with session.get(f"{url}/readyz", ssl=False) as ready:
                said = await ready.text()
            async with session.post(f"{url}/classify", data=CAT.read_bytes(), ssl=False) as answer:
                return ready.status, said, answer.status, await answer.json()

    ready, said, status, answer = asyncio.run(poll())
    assert (ready, said, status, answer["status"]) == (200, "ok\n", 200, "ok")


def test_prometheus_scrapes_with_the_token_in_a_file(daemon: str, tmp_path: Path) -> None:
    program = shutil.which("prometheus")
    if not program:
        pytest.skip("needs prometheus: apt-get install prometheus")
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    config = tmp_path / "prometheus.yml"
    target = {"targets": [daemon.removeprefix("http://")]}
    job = {"job_name": "incv3d", "scrape_interval": "1s", "scrape_timeout": "1s", "static_configs": [target]}
    stranger = {**job, "job_name": "stranger"}
    job["authorization"] = {"credentials_file": str(tmp_path / "token")}
    config.write_text(json.dumps({"scrape_configs": [job, stranger]}))
    listen = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen(
        [
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={tmp_path}/data",
            f"--web.listen-address={listen}",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while (health := _health_of_targets(listen)) != {"incv3d": "up", "stranger": "down"}:
            assert time.monotonic() < deadline, health
            time.sleep(0.2)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def _health_of_targets(listen: str) -> dict[str, str]:
    try:
        with closing(http.client.HTTPConnection(listen, timeout=PATIENCE_S)) as connection:
            connection.request("GET", "/api/v1/targets")
            targets = json.loads(connection.getresponse().read())["data"]["activeTargets"]
    except (OSError, ValueError):  # it is starting
        return {}
    return {target["labels"]["job"]: target["health"] for target in targets}
