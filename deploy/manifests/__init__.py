"""Kustomize manifests: `drop-in/` puts one component into an existing installation, `full/` is a whole one.

`python -m deploy.manifests` writes what is made of the code: the CRDs, and Envoy's start configuration.
"""
