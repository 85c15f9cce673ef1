"""The Kubernetes API as services see it: typed models, client, informer, work queue, conditions, names."""
