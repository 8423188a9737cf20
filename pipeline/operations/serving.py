"""A worker's metrics and health over HTTP: `/metrics` for Prometheus, `/healthz` for probes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec
import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from pipeline.errors import SettingsError
from pipeline.operations.exposure import bearer, check_exposure, named_loopback, same
from pipeline.operations.health import Wellness
from pipeline.operations.listening import listening_in_a_thread

log = structlog.get_logger(__name__)


@contextmanager
def serve(
    registry: CollectorRegistry, health: Wellness, *, port: int, host: str = "127.0.0.1", token: str = ""
) -> Iterator[int]:
    """Answer `/metrics` and `/healthz` in a thread until the context ends; yields the port (a free one for 0).

    `/healthz` says 200 `{"status": "ok"}`, or 503 `{"status": "degraded", "problems": [...]}`; with either, `"notes"` of what is odd about
    the input. With a token, `/metrics`, problems and notes are for who sends it (`Authorization: Bearer ...`); the bare status is for
    everybody, so that probes need none.

    Raises
    ------
    SettingsError
        The address cannot be bound, or would be open to other machines without a token.
    """
    check_exposure(host, token, server="worker.metrics_host", mend="worker.metrics_token")
    with ExitStack() as stack:
        try:
            bound = stack.enter_context(
                listening_in_a_thread(lambda: _app(registry, health, token), host=host, port=port, name="metrics")
            )
        except OSError as error:
            msg = f"{host}:{port} cannot be bound for /metrics ({error.strerror}): set worker.metrics_port to another port"
            raise SettingsError(msg) from error
        log.info("metrics are served", host=host, port=bound, guarded_by="token" if token else "loopback")
        yield bound


def _app(registry: CollectorRegistry, health: Wellness, token: str) -> web.Application:
    def known(request: web.Request) -> bool:
        return not token or same(bearer(request.headers.get("Authorization")), token)

    @web.middleware
    async def guarded(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if not token and not named_loopback(request.headers.get("Host")):
            raise web.HTTPForbidden(text="this server answers to a loopback address only\n")
        if request.path != "/healthz" and not known(request):
            raise web.HTTPUnauthorized(
                text="send Authorization: Bearer with worker.metrics_token\n", headers={"WWW-Authenticate": "Bearer"}
            )
        return await handler(request)

    async def healthz(request: web.Request) -> web.Response:
        problems = health.problems()
        body: dict[str, Any] = {"status": "degraded" if problems else "ok"}
        if known(request):
            body |= {"problems": problems} if problems else {}
            body |= {"notes": notes} if (notes := health.notes()) else {}
        return web.Response(
            status=503 if problems else 200, body=msgspec.json.encode(body), content_type="application/json"
        )

    async def metrics(request: web.Request) -> web.Response:
        encoder, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encoder(registry), headers={"Content-Type": content_type})

    app = web.Application(middlewares=[guarded], client_max_size=1024)
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/metrics", metrics)
    return app
