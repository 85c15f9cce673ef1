"""The numbered statements about Ingresses, and where each is tested."""
