"""Ingresses by the Gateway API: HTTPRoutes for whatever implements that."""
