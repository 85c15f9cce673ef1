"""Programs that others wrote, on both sides of queue-proxy: what they say of it is what its users will see."""
