"""One module per command: each has `Config`, a dataclass of its options, and `run(config)`."""
