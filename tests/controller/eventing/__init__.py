"""The control plane of eventing against a real API server."""
