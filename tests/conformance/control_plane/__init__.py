"""The control plane's numbered statements, and where each is tested."""
