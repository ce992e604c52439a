"""The table of routes, from which the application and its OpenAPI document are made."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from server.dialects.interface import Headers
from server.dialects.table import DIALECTS
from server.handlers.base import BaseHandler, no_route_to
from server.handlers.health import LivenessHandler, ReadinessHandler
from server.handlers.models import (
    AllStatisticsHandler,
    ModelConfigHandler,
    ModelListHandler,
    ModelMetadataHandler,
    ModelReadyHandler,
    ServerMetadataHandler,
    StatisticsHandler,
    TFServingMetadataHandler,
    TFServingStatusHandler,
)
from server.handlers.monitoring import EventsHandler, MetricsHandler
from server.handlers.pages import (
    AssetHandler,
    DocsHandler,
    OpenAPIHandler,
    ProblemHandler,
)
from server.handlers.predict import PredictHandler
from server.handlers.repository import LoadHandler, RepositoryIndexHandler, UnloadHandler
from server.handlers.root import RootHandler
from server.http.auth import ApiKeys
from server.http.endpoints import CheckHead, pattern_of
from server.openapi import operations, predictions
from server.openapi.parts import Operation
from server.serving.served_model import ServedModel


@dataclass(frozen=True)
class Route:
    """A path in OpenAPI's notation, its handler, and what describes its operations."""

    path: str
    handler: type[BaseHandler]
    describe: Callable[[ServedModel], dict[str, Operation]]


ABOUT_MODELS: list[tuple[str, str, type[BaseHandler], str, str]] = [
    ("/v1", "", TFServingStatusHandler, "status", "status (TensorFlow Serving)"),
    ("/v1", "/metadata", TFServingMetadataHandler, "signature", "metadata (TensorFlow Serving)"),
    ("/v2", "", ModelMetadataHandler, "metadata", "metadata"),
    ("/v2", "/config", ModelConfigHandler, "config", "configuration (Triton)"),
    ("/v2", "/ready", ModelReadyHandler, "ready", "readiness"),
    ("/v2", "/stats", StatisticsHandler, "statistics", "statistics"),
]


ROUTES = [
    *(
        Route(path, PredictHandler, predictions.describe_predictions(entry, path))
        for entry in DIALECTS
        for path in entry.paths
    ),
    Route("/v2", ServerMetadataHandler, operations.describe_server_metadata),
    Route("/v1/models", ModelListHandler, operations.describe_model_list("v1")),
    Route("/v2/models", ModelListHandler, operations.describe_model_list("v2")),
    Route("/v2/models/stats", AllStatisticsHandler, operations.describe_all_statistics),
    *(
        Route(
            f"{root}/models/{{name}}{version}{ending}",
            handler,
            operations.describe_model_document(name, version, what),
        )
        for root, ending, handler, name, what in ABOUT_MODELS
        for version in ("", "/versions/{version}")
    ),
    Route("/v2/repository/index", RepositoryIndexHandler, operations.describe_index),
    Route("/v2/repository/models/{name}/load", LoadHandler, operations.describe_load),
    Route("/v2/repository/models/{name}/unload", UnloadHandler, operations.describe_unload),
    Route("/v2/health/live", LivenessHandler, operations.describe_liveness),
    Route("/v2/health/ready", ReadinessHandler, operations.describe_readiness),
    Route("/metrics", MetricsHandler, operations.describe_metrics("metrics")),
    Route(
        "/monitoring/prometheus/metrics",
        MetricsHandler,
        operations.describe_metrics("metrics-tfserving", " (TensorFlow Serving's path)"),
    ),
    Route("/events", EventsHandler, operations.describe_events),
    Route("/", RootHandler, operations.describe_root),
    Route("/docs", DocsHandler, operations.describe_page("docs", "Swagger UI")),
    Route("/openapi.json", OpenAPIHandler, operations.describe_openapi),
    Route("/problems/{slug}", ProblemHandler, operations.describe_problem_page),
    Route("/static/{file}", AssetHandler, operations.describe_asset),
]


_PATTERNS = [(re.compile(pattern_of(route.path)), route.handler) for route in ROUTES]


def has_route(path: str) -> bool:
    """Return whether there is a route for a path in normal form."""
    return any(pattern.fullmatch(path) for pattern, _ in _PATTERNS)


def check_head_with(keys: ApiKeys) -> CheckHead:
    """Return the function that raises what a request gets whatever its body is.

    It raises UnknownPath, MethodNotAllowed and what is wrong with the key.
    """

    def check_head(route: tuple[str, str], headers: Headers) -> None:
        method, path = route
        for pattern, handler in _PATTERNS:
            if pattern.fullmatch(path):
                handler.check_head(method, headers, keys)
                return
        raise no_route_to(path)

    return check_head
