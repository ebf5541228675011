"""The dashboard for Grafana: sound, and every query answered by a real Prometheus from a real endpoint."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon_status import STANDING
from incv3d.config.network import HttpSection
from incv3d.frames import Timings
from incv3d.latency.rolling import OUTCOMES
from incv3d.transports.base import DaemonStatus
from incv3d.transports.http.metrics import Metrics, metrics_routes
from incv3d.transports.http.server import HttpServer
from processes import PATIENCE_S

FILE = Path(__file__).parents[3] / "config" / "grafana-dashboard.json"
KINDS = {"stat", "timeseries", "state-timeline", "table"}
MAY_BE_EMPTY = {"incv3d_camera_recoveries_total"}


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    return json.loads(FILE.read_text("utf-8"))


def queries(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


def metric_names(query: str) -> set[str]:
    return set(re.findall(r"\b(?:incv3d|process)_\w+", query))


def test_the_file_is_what_grafana_imports(dashboard) -> None:
    assert (
        dashboard["title"] == "incv3d" and dashboard["uid"] == "incv3d" and dashboard["schemaVersion"] >= 36
    )
    assert "id" not in dashboard, "an id belongs to one installation"
    names = [variable["name"] for variable in dashboard["templating"]["list"]]
    assert names == ["datasource", "instance"]
    assert set(re.findall(r"\$\{?(\w+)", FILE.read_text())) == {*names, "__rate_interval"}


def test_panels_are_named_and_lie_beside_each_other(dashboard) -> None:
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["type"] in KINDS and panel["targets"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells


class Served:
    """An endpoint that has everything to show, and frames that go on coming."""

    def __init__(self) -> None:
        self.standing: DaemonStatus = STANDING
        self.metrics = Metrics(lambda: self.standing)
        self.server = HttpServer(HttpSection(bind="127.0.0.1:0"), metrics_routes(self.metrics), self.died)
        self.server.open()
        self.server.start()

    def died(self, thread: str, error: BaseException) -> None:
        raise error

    def work(self) -> None:
        self.metrics.record(0.0, Timings(1, 2, 30, 33, 40))
        for outcome in OUTCOMES:
            self.metrics.count(0.0, outcome)

    @property
    def address(self) -> str:
        return self.server.url.removeprefix("http://")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    served = Served()
    yield served
    assert served.server.close(20)


def test_every_metric_that_is_asked_for_is_there(dashboard, served: Served) -> None:
    served.work()
    with urllib.request.urlopen(f"http://{served.address}/metrics", timeout=60) as answer:
        there = set(re.findall(r"^(\w+)[ {]", answer.read().decode(), re.MULTILINE))
    asked = set.union(*(metric_names(query) for query in queries(dashboard)))
    assert asked <= there, asked - there
    shown = {name.removesuffix("_bucket") for name in asked}
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in there if name.startswith("incv3d_")}
    assert ours == {name for name in shown if name.startswith("incv3d_")}, "something is not shown"


@pytest.fixture(scope="module")
def prometheus(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not shutil.which("prometheus"):
        pytest.skip("needs a Prometheus server: apt-get install prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    config = folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s}\n"
        f"scrape_configs: [{{job_name: incv3d, static_configs: [{{targets: ['{served.address}']}}]}}]\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    yield f"http://127.0.0.1:{port}"
    server.kill()
    server.wait()


def ask(prometheus: str, query: str) -> list[dict[str, Any]]:
    words = urllib.parse.urlencode({"query": query})
    with urllib.request.urlopen(f"{prometheus}/api/v1/query?{words}", timeout=60) as answer:
        document = json.load(answer)
    assert document["status"] == "success", query
    return list(document["data"]["result"])


def wait_until_scraped(prometheus: str, served: Served) -> None:
    """Until rates can be computed: two scrapes and some frames between them."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        served.work()
        try:
            if any(
                float(each["value"][1]) > 0 for each in ask(prometheus, "rate(incv3d_run_seconds_count[1m])")
            ):
                return
        except urllib.error.URLError:
            pass  # it is still starting
        time.sleep(0.2)
    raise AssertionError("Prometheus collected nothing")


def test_a_real_prometheus_answers_every_query(dashboard, served: Served, prometheus: str) -> None:
    wait_until_scraped(prometheus, served)
    for query in queries(dashboard):
        concrete = query.replace("$__rate_interval", "1m").replace("$instance", ".+")
        assert ask(prometheus, concrete) or metric_names(query) & MAY_BE_EMPTY, query
