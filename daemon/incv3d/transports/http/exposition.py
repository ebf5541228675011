"""``/metrics``: what a Prometheus server collects."""

from __future__ import annotations

from aiohttp import web
from prometheus_client.exposition import choose_encoder

from incv3d.transports.http.metrics import Metrics


def metrics_routes(metrics: Metrics) -> list[web.AbstractRouteDef]:
    """The one route; as text, or as OpenMetrics for who asks for that."""

    async def exposition(request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        headers = {"Content-Type": content_type, "Cache-Control": "no-store"}
        return web.Response(body=encode(metrics.registry), headers=headers)

    return [web.get("/metrics", exposition)]
