"""Who looks at the counts: Prometheus and the live page."""
