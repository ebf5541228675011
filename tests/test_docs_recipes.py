"""What the pages give to copy works: nginx's configuration, an automation, a supervisor."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import jinja2
import msgspec
import pytest
import yaml

from incv3d.protocol.events import EventMessage
from incv3d.transports.mqtt.topics import Topics
from pages import HTTP, MQTT, SERVICE, fences
from processes import PATIENCE_S, DaemonProcess
from proxies import free_port, nginx, self_signed

TOKEN = "0123456789abcdef0123"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
NGINX = next(fence.text for fence in fences(HTTP) if fence.language == "nginx")
FORWARDED = "proxy_set_header X-Forwarded-For $remote_addr"


def directives() -> list[str]:
    """Return what stands in the page's ``location``, all but the address."""
    text = re.sub(r"#.*", "", NGINX.partition("location / {")[2].partition("}")[0])
    found = [" ".join(each.split()) for each in text.split(";")]
    return [each for each in found if each and not each.startswith("proxy_pass")]


@contextmanager
def started(state: Path, folder: Path, **settings: str) -> Iterator[str]:
    """Run a daemon that serves HTTP on loopback; yields its address."""
    (folder / "incv3d.yaml").write_text(json.dumps({"http": {"bind": "127.0.0.1:0", **settings}}))
    process = DaemonProcess(state, folder, "--config", str(folder / "incv3d.yaml"))
    url = process.url()
    process.ready()
    yield url
    assert process.stop() == 0


@pytest.fixture(scope="module")
def with_token(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("with_token")
    (folder / "token").write_text(TOKEN)
    with started(state, folder, token_file=str(folder / "token")) as url:
        yield url


@pytest.fixture(scope="module")
def without_token(state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with started(state, tmp_path_factory.mktemp("without_token")) as url:
        yield url


@contextmanager
def asked(url: str, path: str, **headers: str) -> Iterator[http.client.HTTPResponse]:
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_S)) as connection:
        connection.request("GET", path, headers=headers)
        with connection.getresponse() as answer:
            yield answer


def status_of(url: str, path: str, **headers: str) -> int:
    with asked(url, path, **headers) as answer:
        return answer.status


def test_behind_nginx_as_configured_the_token_decides(with_token: str, tmp_path: Path) -> None:
    with nginx(tmp_path, with_token, *directives()) as outside:
        for path in ("/", "/metrics", "/healthz", "/live"):
            assert status_of(outside, path) == 401, path
        assert status_of(outside, "/metrics", **BEARER) == 200
        with asked(outside, "/live", **BEARER) as stream:
            assert stream.readline(), "live updates are not kept back until there are more"


def test_behind_nginx_as_configured_a_daemon_without_a_token_answers_nobody(
    without_token: str, tmp_path: Path
) -> None:
    with nginx(tmp_path, without_token, *directives()) as outside:
        for path in ("/", "/metrics", "/healthz", "/live"):
            assert status_of(outside, path) == 401, path
            assert status_of(outside, path, Host="localhost") == 401, path


def test_the_line_that_is_to_be_kept_is_what_protects_it(without_token: str, tmp_path: Path) -> None:
    others = [each for each in directives() if each != FORWARDED]
    assert len(others) == len(directives()) - 1
    with nginx(tmp_path, without_token, *others) as outside:
        assert status_of(outside, "/metrics", Host="localhost") == 200


def test_the_whole_configuration_is_one_of_nginx(tmp_path: Path) -> None:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if not program:
        pytest.skip("needs nginx: apt-get install nginx")
    certificate, key = self_signed(tmp_path)
    text = re.sub(r"/etc/letsencrypt\S+fullchain.pem", str(certificate), NGINX)
    text = re.sub(r"/etc/letsencrypt\S+privkey.pem", str(key), text).replace("443", str(free_port()))
    assert str(certificate) in text and str(key) in text
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/nginx.pid; events {{}}\nhttp {{ access_log off;\n{text}\n}}\n"
    )
    command = [program, "-t", "-e", f"{tmp_path}/error.log", "-c", str(tmp_path / "nginx.conf")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stderr


def test_the_automation_for_home_assistant_reads_real_events() -> None:
    (automation,) = yaml.safe_load(next(fence.text for fence in fences(MQTT) if "triggers:" in fence.text))
    (trigger,), (condition,), (action,) = (automation[key] for key in ("triggers", "conditions", "actions"))
    assert trigger == {"trigger": "mqtt", "topic": Topics("incv3d", "greenhouse").event("camera")}
    event = EventMessage(
        v=1, event="entered", source="camera", label="bird", synset="", score=0.61, at="", frames=3
    )
    said = {}
    for change in ("entered", "left"):
        payload = msgspec.to_builtins(msgspec.structs.replace(event, event=change))
        values = {"trigger": {"payload_json": payload}}
        said[change] = [
            jinja2.Template(text, undefined=jinja2.StrictUndefined).render(values)
            for text in (condition["value_template"], action["data"]["message"])
        ]
    assert said["entered"] == ["True", "bird (61.0 %)"]
    assert said["left"][0] == "False"


@pytest.mark.parametrize("statuses", [(0,), (2,), (1, 70, 75, 137, 0), (1, 2), (143,), (130,)])
def test_the_supervisor_restarts_what_systemd_would(tmp_path: Path, statuses: tuple[int, ...]) -> None:
    script = next(fence.text for fence in fences(SERVICE) if fence.text.startswith("#!/bin/sh"))
    assert script.count("sleep 5") == 1
    (tmp_path / "supervise").write_text(script.replace("sleep 5", ":"))
    program = tmp_path / "incv3d"
    program.write_text(
        "#!/bin/sh\necho run >>runs\n"
        f"set -- {' '.join(map(str, statuses))}; shift $(($(wc -l <runs) - 1)); exit $1\n"
    )
    program.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    done = subprocess.run(["sh", "supervise"], cwd=tmp_path, env=environ, timeout=PATIENCE_S)
    assert done.returncode == statuses[-1]
    assert len((tmp_path / "runs").read_text().splitlines()) == len(statuses)
