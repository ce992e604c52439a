"""Commands for developers: load test, measurements, comparison, fuzzing, OpenAPI export."""
