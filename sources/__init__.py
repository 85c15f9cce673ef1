"""Where events come from: programs that watch something and post what happens to a sink."""
