"""What the service costs beside requests a second, one module a number."""
