"""Compares servers with networks that people serve: `compare.py --models`."""
