"""Measurements of latency, CPU time and memory, one module each."""
