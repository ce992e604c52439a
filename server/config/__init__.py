"""Settings: declared once; read from flags, environment variables and a file; frozen."""

from server.config.load import load_settings
from server.config.settings import (
    ApiKey,
    AuthSettings,
    BatchingSettings,
    ConfigError,
    HttpSettings,
    LoggingSettings,
    ModelSettings,
    ModelSource,
    PredictSettings,
    Settings,
)

__all__ = [
    "ApiKey",
    "AuthSettings",
    "BatchingSettings",
    "ConfigError",
    "HttpSettings",
    "LoggingSettings",
    "ModelSettings",
    "ModelSource",
    "PredictSettings",
    "Settings",
    "load_settings",
]
