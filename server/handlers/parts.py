"""The parts that handlers are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from server.handlers.assets import Assets
from server.handlers.made_once import MadeOnce
from server.http.activity import Activity
from server.http.auth import ApiKeys
from server.http.cors import Cors
from server.http.endpoints import Endpoints
from server.http.outside import Outside
from server.monitoring.live_page import LivePage
from server.monitoring.metrics import Metrics
from server.serving.service import Service

PAGES_KEPT: Final = 8  # start pages: one for each address and state of the service
ADDRESSES_KEPT: Final = 8  # of API documents


@dataclass(frozen=True)
class Parts:
    """What `server.app` gives to every handler.

    Attributes:
        activity: the requests in progress.
        endpoints: the endpoints for predictions, by method and path.
        outside: how a request is seen from outside.
        live_page: the feed of the charts on the start page.
        assets: the files in `server/static/`.
        describe: makes the OpenAPI document of models; the first one is the default model.
        documents: the last OpenAPI document, without an address.
        addressed: the last OpenAPI documents: one for each address.
        pages: the last start pages: one for each address and state of the service.
    """

    service: Service
    activity: Activity
    keys: ApiKeys
    cors: Cors
    endpoints: Endpoints
    outside: Outside
    live_page: LivePage
    metrics: Metrics
    assets: Assets
    describe: Callable[..., bytes]
    documents: MadeOnce
    pages: MadeOnce = field(default_factory=lambda: MadeOnce(most=PAGES_KEPT))
    addressed: MadeOnce = field(default_factory=lambda: MadeOnce(most=ADDRESSES_KEPT))
