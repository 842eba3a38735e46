"""`make gpu-check`: the tests and benchmarks that need a GPU, in at most eight minutes, with one result file."""
