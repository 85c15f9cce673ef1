"""The channels of the dispatcher: in memory, in a local journal, on NATS JetStream."""
