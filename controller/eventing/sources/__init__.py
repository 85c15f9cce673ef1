"""The control plane of sources: PingSource, ApiServerSource, ContainerSource, SinkBinding; their admission."""
