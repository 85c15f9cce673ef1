"""The HTTP engine and the data-plane building blocks that every service shares. Imports nothing of ours."""
