"""The bridge to cert-manager: fulfils Certificates of its class by asking cert-manager for them."""
