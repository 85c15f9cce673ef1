"""The sidecar between everything that sends HTTP to a pod and the user container.

Imports only the standard library, uvloop and `proxies`.
"""
