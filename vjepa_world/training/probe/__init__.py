"""Attentive probes: a small head trained on the features of a frozen encoder."""
