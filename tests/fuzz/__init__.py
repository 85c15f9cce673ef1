"""What any bytes may do to the parsers, and what they must never do; see README.md."""
