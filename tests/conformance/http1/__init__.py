"""Malformed and ambiguous HTTP/1.1, message by message, against a real queue-proxy; see README.md."""
