"""Commands to run beside the service."""
