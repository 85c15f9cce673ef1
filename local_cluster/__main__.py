"""`python -m local_cluster` is the command `knuv`."""

from local_cluster.cli import main

main()
