"""What the activator survives: the death, absence and slowness of everything around it."""
