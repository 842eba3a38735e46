"""Training batches: mixtures, transforms, worker processes and the loader."""
