"""The HTML report of load tests."""
