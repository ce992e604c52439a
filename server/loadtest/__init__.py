"""The load test: load generator, schedules, sweep, reports. `scripts/load_test.py` runs it."""
