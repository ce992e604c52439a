"""The service: from HTTP to batches and back."""

__version__ = "0.1.0"
