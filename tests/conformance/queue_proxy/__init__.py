"""The numbered statements about queue-proxy, tested from outside against a running process."""
