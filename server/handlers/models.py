"""Metadata, readiness and statistics of models, as TensorFlow Serving and V2 define them."""

from __future__ import annotations

import json
from typing import Any, Final

from server import __version__
from server.dialects.tfserving import documents as tfserving
from server.dialects.v2 import documents
from server.errors import MethodNotAllowed
from server.handlers.base import BaseHandler
from server.http.auth import METRICS
from server.serving.served_model import ServedModel
from server.serving.slot import ModelState
from server.serving.versions import rank

VERBS: Final = (":classify", ":regress", ":explain")  # of TensorFlow Serving and KServe


class DocumentHandler(BaseHandler):
    """A document about a model, or about one version of it."""

    def get(self, name: str, version: str | None = None) -> None:
        """Send the document; raises UnknownModel, Loading."""
        model = self.service.repository.slot(name).find(version)
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(self.document(model)))

    def document(self, model: ServedModel) -> dict[str, Any]:
        """Return the document about a model."""
        raise NotImplementedError


class ModelMetadataHandler(DocumentHandler):
    """V2: inputs, outputs and versions of a model."""

    def document(self, model: ServedModel) -> dict[str, Any]:
        versions = self.service.repository.slots[model.name].versions
        return documents.of_model(
            model.name, sorted(versions, key=rank), model.signature, model.about_engines()
        )


class ModelConfigHandler(DocumentHandler):
    """Triton: the configuration of a model."""

    def document(self, model: ServedModel) -> dict[str, Any]:
        return documents.of_config(
            model.name,
            model.signature,
            max_rows=model.batch_size.rows,
            versions=self.service.settings.model.max_versions,
            processes=len(model.replicas),
        )


class ModelReadyHandler(DocumentHandler):
    """V2: readiness of a model."""

    def document(self, model: ServedModel) -> dict[str, Any]:
        """Raise ModelFails or ModelUnavailable if the model is not ready."""
        model.check_ready()
        return {"name": model.name, "ready": True}


class ModelListHandler(BaseHandler):
    """KServe, in V1 and V2: the names of all models."""

    def get(self) -> None:
        """Send the names, also of models that are loading or have been unloaded."""
        self.send_json({"models": list(self.service.repository.slots)})


class TFServingMetadataHandler(DocumentHandler):
    """TensorFlow Serving: the signature of a model."""

    def document(self, model: ServedModel) -> dict[str, Any]:
        return tfserving.metadata_document(model.name, model.version, model.signature)


class TFServingStatusHandler(BaseHandler):
    """TensorFlow Serving: the state of a model's versions; KServe V1: whether it is ready."""

    def get(self, name: str, version: str | None = None) -> None:
        """Send the state of all versions, or of one; raises UnknownModel.

        At the path without a version, KServe answers `name` and `ready`.
        """
        slot = self.service.repository.slot(name)
        if version is not None:
            slot.find(version)
        states = [
            (
                entry.version,
                _TFSERVING_STATES[entry.state],
                "" if entry.state is ModelState.READY else entry.failure,
            )
            for entry in slot.index()
            if version in (None, entry.version)
        ]
        document = tfserving.status_document(states)
        if version is None:
            is_ready = slot.current is not None and slot.current.is_ready
            document |= {"name": name, "ready": is_ready}
        self.send_json(document)

    def post(self, name: str, version: str | None = None) -> None:
        """Raise MethodNotAllowed, also for `:classify` and others: such a path ends in a name."""
        has_verb = (version or name).endswith(VERBS)
        raise MethodNotAllowed("POST", self.allowed(), "ask :predict" if has_verb else "")


_TFSERVING_STATES = {
    ModelState.LOADING: "LOADING",
    ModelState.READY: "AVAILABLE",
    ModelState.UNAVAILABLE: "END",
}


class StatisticsHandler(DocumentHandler):
    """V2: statistics of a version since it was loaded."""

    def get(self, name: str, version: str | None = None) -> None:
        """Send the statistics; raises UnknownModel, Loading, Unauthorized, NotForThisKey."""
        self.keys.check(self.request.headers, METRICS)
        super().get(name, version)

    def document(self, model: ServedModel) -> dict[str, Any]:
        stats = documents.of_statistics(model.name, model.version, model.counts)
        return {"model_stats": [stats]}


class AllStatisticsHandler(BaseHandler):
    """V2: statistics of every version of every model since it was loaded."""

    def get(self) -> None:
        """Send the statistics; raises Unauthorized, NotForThisKey."""
        self.keys.check(self.request.headers, METRICS)
        models = self.service.repository.models()
        stats = [documents.of_statistics(m.name, m.version, m.counts) for m in models]
        self.send_json({"model_stats": stats})


class ServerMetadataHandler(BaseHandler):
    """V2: name, version and extensions of the server."""

    def get(self) -> None:
        self.send_json(documents.of_server(__version__))
