"""Wiring: service, routes and transport; the OpenAPI document of all routes."""

from __future__ import annotations

import ssl
from typing import NamedTuple

from tornado.web import Application, url

from server.handlers.assets import Assets
from server.handlers.base import NotFoundHandler, request_logger
from server.handlers.made_once import MadeOnce
from server.handlers.pages import TEMPLATES
from server.handlers.parts import Parts
from server.handlers.routes import ROUTES, check_head_with, has_route
from server.http.activity import Activity, LogAccess
from server.http.auth import ApiKeys
from server.http.cors import Cors
from server.http.endpoints import Endpoints, pattern_of
from server.http.outside import Outside
from server.http.rejections import Rejections
from server.logs import PayloadLog
from server.monitoring.live_page import LivePage
from server.monitoring.metrics import Metrics
from server.openapi.document import document_of
from server.serving.served_model import ServedModel
from server.serving.service import Service
from server.transport.asgi import AsgiRequests
from server.transport.interface import Transport
from server.transport.llhttp.server import LlhttpServer
from server.transport.tornado_server import BoundedHTTPServer


def openapi_document(model: ServedModel, *others: ServedModel) -> bytes:
    """Return the OpenAPI document, in JSON, of the default model and the others."""
    return document_of(ROUTES, model, others)


def make_transport(
    service: Service,
    activity: Activity,
    live_page: LivePage,
    *,
    payload_log: PayloadLog | None = None,
    log_access: LogAccess = lambda _: None,
    keys: ApiKeys | None = None,
    tls: ssl.SSLContext | None = None,
) -> Transport:
    """Return the transport that `http.transport` names, ready to serve all routes.

    `activity` counts the requests in progress; `live_page` is started by the caller. `keys` are
    those of the settings unless the caller wants to replace them later.
    """
    wired = _wire(service, activity, live_page, payload_log, log_access, keys)
    settings = service.settings
    shared = (log_access, wired.outside, tls)
    if settings.http.transport == "tornado":
        return BoundedHTTPServer(wired.app, settings.http, wired.rejections, *shared)
    return LlhttpServer(
        wired.app, settings.http, wired.endpoints, wired.rejections, activity, *shared
    )


def make_asgi(
    service: Service,
    activity: Activity,
    live_page: LivePage,
    *,
    payload_log: PayloadLog | None = None,
    log_access: LogAccess = lambda _: None,
) -> AsgiRequests:
    """Return what answers the requests of an ASGI server, with the same routes."""
    wired = _wire(service, activity, live_page, payload_log, log_access, None)
    limits = service.settings.http
    return AsgiRequests(
        *(wired.app, limits, wired.endpoints, wired.rejections, activity, log_access),
        wired.outside,
    )


class _Wired(NamedTuple):
    """What every transport needs."""

    app: Application
    endpoints: Endpoints
    rejections: Rejections
    outside: Outside


def _wire(
    service: Service,
    activity: Activity,
    live_page: LivePage,
    payload_log: PayloadLog | None,
    log_access: LogAccess,
    keys: ApiKeys | None,
) -> _Wired:
    settings = service.settings
    keys = keys or ApiKeys(settings.auth.api_keys)
    cors = Cors(settings.http.cors_origins)
    endpoints = Endpoints(service, keys, cors, payload_log, check_head_with(keys))
    outside = Outside(settings.http, has_route)
    rejections = Rejections(settings.http, endpoints, service.counts.rejected, outside)
    activity.end_first(live_page.end)
    parts = Parts(
        service=service,
        activity=activity,
        keys=keys,
        cors=cors,
        endpoints=endpoints,
        outside=outside,
        live_page=live_page,
        metrics=Metrics(service, payload_log),
        assets=Assets(),
        describe=openapi_document,
        documents=MadeOnce(most=1),
    )
    return _Wired(make_app(parts, log_access), endpoints, rejections, outside)


def make_app(parts: Parts, log_access: LogAccess) -> Application:
    """Return the Tornado application: its routes, and the parts of their handlers."""
    return Application(
        [url(pattern_of(route.path), route.handler, {"parts": parts}) for route in ROUTES],
        default_handler_class=NotFoundHandler,
        default_handler_args={"parts": parts},
        template_path=str(TEMPLATES),
        log_function=request_logger(log_access),
    )
