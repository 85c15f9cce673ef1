"""Images, manifests, dashboards and alert rules: how the components come into a cluster."""
