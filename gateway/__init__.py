"""Turns KIngress objects and endpoints into Envoy configuration, served over xDS."""
