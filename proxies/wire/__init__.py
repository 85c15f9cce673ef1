"""Messages as they stand on the wire between data plane and autoscaler."""
