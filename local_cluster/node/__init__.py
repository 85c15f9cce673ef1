"""The kubelet's part of the local stack: pods become process groups, and their status goes back to the API."""
