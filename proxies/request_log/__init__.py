"""What queue-proxy and activator share of the request log: what templates see of an exchange, and how lines are made.

Imported only where a request log is enabled.
"""
