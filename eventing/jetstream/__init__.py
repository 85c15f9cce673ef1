"""NATS JetStream as channels, brokers and sources use it: one connection, bounded publishes, pulls with credit."""
