"""What every implementation of Ingresses shares: defaults, versions, and the proof that a version is served."""
