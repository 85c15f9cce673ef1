"""The control plane of eventing, by numbered statements of `eventing-broker`, `-channels` and `-sources`."""
