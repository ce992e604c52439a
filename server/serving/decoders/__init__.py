"""Decoder processes: large bodies are decoded, and large answers encoded, off the event loop."""
