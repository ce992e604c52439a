"""The load test: load, schedule, verdicts, reports. `scripts/load_test.py` runs it."""
