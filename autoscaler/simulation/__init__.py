"""What the autoscaler would do: the same deciders and bounds over a recorded or described load, with simulated pods."""
