"""Checkpoints in the format of Hugging Face transformers, read and written."""
