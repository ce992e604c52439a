"""Metrics for Prometheus, and the events behind the live page."""
