"""Tests of `proxies.http2`: examples of the RFCs, laws against the `hpack` and `h2` libraries, attacks on limits."""
