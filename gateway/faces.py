"""The names of the gateway's faces, of their listeners and of their route configurations."""

__all__ = ["EXTERNAL", "EXTERNAL_TLS", "FACES", "INTERNAL", "INTERNAL_TLS"]

EXTERNAL = "external_services"
INTERNAL = "internal_services"
EXTERNAL_TLS = "external_tls_services"
INTERNAL_TLS = "internal_tls_services"
FACES = (EXTERNAL, INTERNAL, EXTERNAL_TLS, INTERNAL_TLS)
