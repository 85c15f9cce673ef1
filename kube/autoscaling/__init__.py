"""Settings of autoscaling that several services read: ConfigMap `config-autoscaler`, annotations of revisions."""
