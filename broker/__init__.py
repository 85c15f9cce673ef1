"""Brokers: events come in over HTTP, and go to those who subscribed to them (spec eventing-broker.md)."""
