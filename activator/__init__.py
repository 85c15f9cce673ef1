"""Holds requests of revisions that have no capacity, reports them to the autoscaler, forwards them to ready pods."""
