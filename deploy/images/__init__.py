"""OCI images of the components, made without a container engine: `python -m deploy.images --help`."""
