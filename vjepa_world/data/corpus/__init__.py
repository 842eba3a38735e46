"""A corpus of clips and images for pretraining: lists, folders, shards and their labels."""
