"""One machine as a cluster: API server, workloads, node, and the stack that runs every service on it (`knuv up`)."""
