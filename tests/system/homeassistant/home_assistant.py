"""A running Home Assistant, asked over REST and its websocket as its own pages ask it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
import signal
import sqlite3
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
from installation import inside

from brokers import free_port
from waiting import until

START_S = 120.0
CONFIGURATION = """
homeassistant: {name: Home, unit_system: metric, time_zone: UTC, latitude: 52.0, longitude: 4.0, elevation: 0}
http: {server_host: 127.0.0.1, server_port: PORT}
api:
websocket_api:
config:
onboarding:
recorder: {db_url: "sqlite:////ha/ha.db", commit_interval: 1}
history:
automation: !include automations.yaml
logger: {default: warning}
"""
ABOUT_US = re.compile(r"(WARNING|ERROR|CRITICAL).*(mqtt|incv3d)", re.IGNORECASE)


class HomeAssistant:
    """Home Assistant with its configuration in `folder`, connected to the broker on `broker_port`.

    :param root: where it is installed.
    """

    def __init__(self, root: Path, folder: Path, broker_port: int) -> None:
        self._root = root
        self._folder = folder
        self._broker_port = broker_port
        self._port = free_port()
        self._url = f"http://127.0.0.1:{self._port}"
        self._refresh = self._token = ""
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "configuration.yaml").write_text(CONFIGURATION.replace("PORT", str(self._port)))
        (folder / "automations.yaml").write_text("[]")

    @property
    def database(self) -> Path:
        return self._folder / "ha.db"

    @property
    def automations(self) -> Path:
        return self._folder / "automations.yaml"

    def said(self) -> str:
        return (self._folder / "said").read_text(errors="replace")

    def complaints(self) -> list[str]:
        """The lines of its log that are warnings or errors about MQTT or this program."""
        return [line for line in self.said().splitlines() if ABOUT_US.search(line)]

    def start(self) -> HomeAssistant:
        """Start it, and wait until it answers; the first time, make its owner and add the broker."""
        command = inside(
            self._root, "/opt/ha/bin/hass", "--config", "/ha", "--skip-pip", binds={self._folder: "/ha"}
        )
        with (self._folder / "said").open("ab") as said:
            self._process = subprocess.Popen(command, stdout=said, stderr=said)
        until(self._answers, f"Home Assistant does not start: {self.said()}", START_S)
        if not self._refresh:
            self._set_up()
        self._log_in()
        until(lambda: self.call("GET", "/api/config")["state"] == "RUNNING", "it does not get ready", START_S)
        return self

    def stop(self) -> None:
        """End it in order, as a restart does."""
        if self._process:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(START_S)
        self._process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def _answers(self) -> bool:
        assert self._process and self._process.poll() is None, self.said()
        try:
            urllib.request.urlopen(f"{self._url}/api/onboarding", timeout=5).read()
        except urllib.error.HTTPError:
            return True  # it is set up already, and wants a token
        except (OSError, http.client.HTTPException):
            return False
        return True

    def _set_up(self) -> None:
        client = f"{self._url}/"
        owner = {"client_id": client, "name": "t", "username": "t", "password": "t-t-t-t-t", "language": "en"}
        code = self.call("POST", "/api/onboarding/users", owner)["auth_code"]
        asked = {"grant_type": "authorization_code", "code": code, "client_id": client}
        self._refresh = self._ask_for_token(asked)["refresh_token"]
        self._log_in()
        self.call("POST", "/api/onboarding/analytics", {})
        self.call("POST", "/api/onboarding/integration", {"client_id": client, "redirect_uri": client})
        flow = self.call("POST", "/api/config/config_entries/flow", {"handler": "mqtt"})
        form = {"broker": "127.0.0.1", "port": self._broker_port}
        done = self.call("POST", f"/api/config/config_entries/flow/{flow['flow_id']}", form)
        assert done["type"] == "create_entry", done

    def _log_in(self) -> None:
        asked = {"grant_type": "refresh_token", "refresh_token": self._refresh, "client_id": f"{self._url}/"}
        self._token = self._ask_for_token(asked)["access_token"]

    def _ask_for_token(self, asked: dict[str, str]) -> dict[str, str]:
        body = urllib.parse.urlencode(asked).encode()
        with urllib.request.urlopen(f"{self._url}/auth/token", body, timeout=30) as answer:
            return dict(json.load(answer))

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The answer to a request; bytes, if it is no JSON."""
        head = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, head, method=method)
        if data is not None:
            request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=30) as answer:
            said = answer.read()
            return json.loads(said) if answer.headers.get_content_type() == "application/json" else said

    def ask(self, **command: Any) -> Any:
        """The result of a command over the websocket."""

        async def exchange() -> Any:
            async with (
                aiohttp.ClientSession() as session,
                session.ws_connect(f"{self._url}/api/websocket", max_msg_size=0) as socket,
            ):
                await socket.receive_json()
                await socket.send_json({"type": "auth", "access_token": self._token})
                await socket.receive_json()
                await socket.send_json({"id": 1, **command})
                while (message := await socket.receive_json()).get("type") != "result":
                    pass
                return message["result"]

        return asyncio.run(exchange())

    def act(self, domain: str, service: str, **data: Any) -> None:
        """Call a service: ``switch``, ``turn_on``, ``entity_id=...``."""
        self.call("POST", f"/api/services/{domain}/{service}", data)

    def state(self, entity: str) -> str:
        """The state of an entity; empty if there is none."""
        return str(self.facts(entity).get("state", ""))

    def facts(self, entity: str) -> dict[str, Any]:
        """State and attributes of an entity; empty if there is none."""
        with contextlib.suppress(urllib.error.HTTPError):
            return dict(self.call("GET", f"/api/states/{entity}"))
        return {}

    def entities(self, name: str) -> set[str]:
        """What it has registered of the daemon `name`, without its name: ``sensor.cam_label``."""
        found = [each["entity_id"] for each in self.ask(type="config/entity_registry/list")]
        device = f"incv3d_{name}_"
        return {each.replace(device, "") for each in found if f".{device}" in each}

    def wait_for(self, entity: str, is_meant: str | Callable[[str], object], limit_s: float = 15.0) -> str:
        """Wait until an entity has this state, or one that is meant; return it."""
        known = is_meant if callable(is_meant) else lambda state: state == is_meant
        until(lambda: known(self.state(entity)), f"{entity} is not {is_meant}", limit_s)
        return self.state(entity)

    def query(self, sql: str) -> list[Any]:
        """Rows of its database."""
        with contextlib.closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True)) as connection:
            return connection.execute(sql).fetchall()
