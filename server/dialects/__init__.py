"""Dialects: the protocols for predictions. Each decodes requests and encodes answers and errors."""
