"""A cache of the features of a frozen encoder on disk."""
