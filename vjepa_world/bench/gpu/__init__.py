"""`make gpu-check`: the tests and benchmarks that need a GPU, in eight minutes, with one result file."""
