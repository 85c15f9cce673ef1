"""What a Trigger says about the events that it wants (spec eventing-broker.md 8)."""
