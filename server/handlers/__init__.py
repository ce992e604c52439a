"""Tornado request handlers, and the table of routes."""
