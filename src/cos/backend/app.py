"""The one app factory."""

from __future__ import annotations

from fastapi import FastAPI, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, Field
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

import cos
from cos.backend import problems
from cos.backend.access.audit import audit_into
from cos.backend.access.router import router as access
from cos.backend.auth.described import describe_access
from cos.backend.auth.gate import Gate
from cos.backend.auth.needs import needs_of
from cos.backend.auth.policy import Policy
from cos.backend.auth.scopes import Rules
from cos.backend.cc.metrics import Requests, metrics_answer, registry_of
from cos.backend.cc.router import router as cc
from cos.backend.cc.schemas import Status
from cos.backend.dashboard.live import Viewers
from cos.backend.dashboard.route import page_of
from cos.backend.dashboard.router import router as dashboard
from cos.backend.deps import Services, ServicesDep, services_of
from cos.backend.edge import Edge
from cos.backend.events.router import record_events
from cos.backend.events.router import router as events
from cos.backend.events.schemas import EVENT_SCHEMAS
from cos.backend.highway.router import router as highway
from cos.backend.module import mount
from cos.backend.scratch.router import router as scratch
from cos.backend.traced import Traced
from cos.backend.webhooks.router import router as webhooks

#: Every feature that is served, by the name that `/cc/config` shows.
FEATURES = {
    "cc": cc,
    "events": events,
    "highway": highway,
    "scratch": scratch,
    "webhooks": webhooks,
    "access": access,
    "dashboard": dashboard,
}


_STATUS = Status().model_dump_json().encode()


class Liveness(BaseModel):
    """That the process answers."""

    status: str = "ok"


class Readiness(BaseModel):
    """Whether COS can do its work now."""

    status: str = Field(description="ok, degraded (writes and reads work, something else does not) or down")
    causes: list[str]


def create_app(services: Services) -> FastAPI:
    """Make the app over what the runtime has built; the same for every process and every test."""
    app = FastAPI(
        title="COS",
        version=cos.__version__,
        summary="What happens in an author's work, recorded once, announced once, never lost.",
        docs_url=None,  # theirs comes from another host; the dashboard has one of its own
        redoc_url=None,
        generate_unique_id_function=_operation_id,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # COS makes its own, see `Traced`
    )
    app.state.services = services
    added = getattr(services, "modules", ())  # none when the app is only described
    app.state.features = (*FEATURES, *(module.name for module in added))
    app.state.rules = Rules(packages={module.name: list(needs_of(module)) for module in added})
    app.state.requests = Requests()
    app.state.metrics = registry_of(services, app.state.requests)
    app.state.viewers = Viewers()
    app.router.routes[:0] = [
        Direct("/events", _recorded, methods=["POST"], include_in_schema=False),
        Direct("/cc/status", _answers, methods=["GET"], include_in_schema=False),
    ]
    for router in FEATURES.values():
        app.include_router(router)
    for module in added:
        mount(app, module)

    @app.get("/metrics", tags=["health"], response_class=PlainTextResponse)
    async def metrics(request: Request) -> Response:
        """Give the metrics in Prometheus's text format."""
        return metrics_answer(request)

    @app.get("/health", tags=["health"])
    async def health() -> Liveness:
        """Say that the process answers (liveness)."""
        return Liveness()

    @app.get("/ready", tags=["health"], responses={200: {"model": Readiness}, 503: {"model": Readiness}})
    async def ready(given: ServicesDep) -> JSONResponse:
        """Measure whether COS can do its work (readiness): 503 only when it cannot record."""
        report = await given.monitor.measure()
        code = 503 if report.state == "down" else 200
        answer = Readiness(status=report.state.value, causes=report.causes)
        return JSONResponse(answer.model_dump(), status_code=code)

    problems.install(app)
    _describe_problems(app)
    return app


class Direct(Route):
    """A route of Starlette's own, tried before all others: for the two that are asked for all the time.

    FastAPI's way to a route takes a third of the time of a recorded event, and two thirds of that of a status.

    The feature's route stays, for the document that describes it.
    """

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, under the same name as FastAPI's route."""
        scope["route"] = self
        await super().handle(scope, receive, send)


async def _answers(_request: Request) -> Response:
    return Response(_STATUS, media_type="application/json")


async def _recorded(request: Request) -> Response:
    return await record_events(request, services_of(request))


def _operation_id(route: APIRoute) -> str:
    """Name an operation as a generated client shall call it: by its feature and what it does."""
    feature = str(route.tags[0]).replace(" ", "_") if route.tags else "cos"
    return f"{feature}_{route.name}"


def with_edge(app: FastAPI) -> ASGIApp:
    """Wrap the app in its gate and its edge; what a server serves."""
    services: Services = app.state.services
    app.state.policy = Policy.of(services.settings)

    async def shown(request: Request, error: Exception) -> Response:
        request.scope["app"] = app  # as it would, had the gate let the request in
        return await page_of(request, error)

    gate = Gate(
        app,
        policy=app.state.policy,
        grants=services.grants,
        rules=app.state.rules,
        most_body_bytes=lambda: services.settings.max_body_bytes,
        audit=audit_into(services.recorder),
        shown=shown,
    )
    return Edge(gate if services.telemetry is None else Traced(gate, telemetry=services.telemetry))


def _describe_problems(app: FastAPI) -> None:
    """Complete the OpenAPI document: the shapes that pydantic does not know, and a problem for every failure."""

    def openapi() -> dict[str, object]:
        if app.openapi_schema is None:
            schema = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            components = schema.setdefault("components", {}).setdefault("schemas", {})
            components["Problem"] = problems.Problem.model_json_schema()
            components |= EVENT_SCHEMAS
            for operations in schema["paths"].values():
                for operation in operations.values():
                    operation["responses"].setdefault("default", problems.described())
            policy: Policy | None = getattr(app.state, "policy", None)
            describe_access(
                schema, rules=app.state.rules, asked=policy is not None and policy.asks_for_tokens
            )
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to change the document
