"""Helpers that make a test read as a dialogue; nothing here asserts on its own."""
