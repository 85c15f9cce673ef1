"""The kubelet's part: pods as process groups with addresses of their own, probes, logs, status."""
