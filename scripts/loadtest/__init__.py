"""The load test: what it sends, when, over which connections, and what it makes of the answers."""
