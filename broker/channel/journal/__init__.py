"""A channel that survives its process: events are in a file, and on the disk, before anybody hears 202."""
