"""What the Open Inference Protocol tells of the server and its models."""

from __future__ import annotations

import json
from typing import Any

from server import __version__
from server.dialects.tfserving import documents as tfserving
from server.dialects.v2 import documents
from server.handlers.base import BaseHandler
from server.http.auth import METRICS
from server.serving.served_model import ServedModel
from server.serving.slot import ModelState
from server.serving.versions import rank


class DocumentHandler(BaseHandler):
    """A document about a model, or about one version of it."""

    def get(self, name: str, version: str | None = None) -> None:
        """Send it; raises UnknownModel, Loading."""
        model = self.service.repository.slot(name).find(version)
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(self.document(model)))

    def document(self, model: ServedModel) -> dict[str, Any]:
        """Return it."""
        raise NotImplementedError


class ModelMetadataHandler(DocumentHandler):
    """Its inputs and outputs, and its versions."""

    def document(self, model: ServedModel) -> dict[str, Any]:
        """Return them."""
        versions = self.service.repository.slots[model.name].versions
        return documents.of_model(model.name, sorted(versions, key=rank), model.signature)


class ModelReadyHandler(DocumentHandler):
    """Whether predictions of a model can be asked for."""

    def document(self, model: ServedModel) -> dict[str, Any]:
        """Say so; a model that is not there is not found, and one that fails is 503."""
        model.check_ready()
        return {"name": model.name, "ready": True}


class TFServingMetadataHandler(DocumentHandler):
    """What a model takes and gives, in the words of TensorFlow Serving."""

    def document(self, model: ServedModel) -> dict[str, Any]:
        """Return its signature."""
        return tfserving.metadata_document(model.name, model.version, model.signature)


class TFServingStatusHandler(BaseHandler):
    """Which versions of a model there are, in the words of TensorFlow Serving."""

    def get(self, name: str, version: str | None = None) -> None:
        """Show all of them, or one; raises UnknownModel."""
        slot = self.service.repository.slot(name)
        if version is not None:
            slot.find(version)
        states = [
            (
                entry.version,
                _TFSERVING_STATES[entry.state],
                "" if entry.state is ModelState.READY else slot.failure,
            )
            for entry in slot.index()
            if version in (None, entry.version)
        ]
        self.send_json(tfserving.status_document(states))


_TFSERVING_STATES = {
    ModelState.LOADING: "LOADING",
    ModelState.READY: "AVAILABLE",
    ModelState.UNAVAILABLE: "END",
}


class StatisticsHandler(DocumentHandler):
    """What a version has done since it was loaded."""

    def get(self, name: str, version: str | None = None) -> None:
        """Send it; raises UnknownModel, Loading, and what keeps it from those without a key."""
        self.keys.check(self.request.headers, METRICS)
        super().get(name, version)

    def document(self, model: ServedModel) -> dict[str, Any]:
        """Return it, as a list of one."""
        stats = documents.of_statistics(model.name, model.version, model.counts)
        return {"model_stats": [stats]}


class AllStatisticsHandler(BaseHandler):
    """What every version of every model has done since it was loaded."""

    def get(self) -> None:
        """Show it; raises what keeps it from those without a key."""
        self.keys.check(self.request.headers, METRICS)
        models = self.service.repository.models()
        stats = [documents.of_statistics(m.name, m.version, m.counts) for m in models]
        self.send_json({"model_stats": stats})


class ServerMetadataHandler(BaseHandler):
    """Which server this is."""

    def get(self) -> None:
        """Say so."""
        self.send_json(documents.of_server(__version__))
