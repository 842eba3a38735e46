"""One module a command: each has `Config`, a dataclass of its options, and `run(config)`."""
