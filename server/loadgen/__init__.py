"""Puts load on a server: what is sent, when, over which connections, and what came back.

Nothing that serves imports it: `scripts/load_test.py` and `python -m server tune` do.
"""
