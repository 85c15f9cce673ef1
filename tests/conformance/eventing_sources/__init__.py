"""The numbered statements of eventing-sources.md, and where each is tested."""
