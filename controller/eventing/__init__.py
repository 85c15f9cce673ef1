"""The control plane of eventing: Brokers, Triggers, channels, Subscriptions, flows; their admission."""
