"""A Kubernetes-shaped API server: what unmodified clients rely on, in memory."""
