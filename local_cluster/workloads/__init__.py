"""The controllers of a cluster that the local stack needs: Deployments, ReplicaSets, Endpoints, scheduling."""
