"""What queue-proxy survives: peers that stall, vanish, lie, flood or crash. README.md lists the promises."""
