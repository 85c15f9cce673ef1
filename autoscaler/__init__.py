"""The Knative Pod Autoscaler: stats in, desired scale and proxy/serve mode out."""
