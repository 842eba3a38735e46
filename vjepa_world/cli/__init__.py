"""One module a verb: a job has `Config` and `run(config)`, a file verb `build_parser()` and `run(arguments)`."""
