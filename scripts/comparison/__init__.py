"""Compares this server with other model servers: starts them, measures them, writes a report."""
