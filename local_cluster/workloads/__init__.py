"""The workload controllers of a cluster: Deployment to Pods, Endpoints and EndpointSlices, garbage collection."""
