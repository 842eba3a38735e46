"""Reference implementations that the benchmarks compare with."""
