"""What becomes of each frame that HTTP/2 allows or forbids, in the manner of the public h2spec suite."""
