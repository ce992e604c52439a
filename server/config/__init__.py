"""Settings: declared once, read from flags, the environment and a file, checked, frozen."""

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
