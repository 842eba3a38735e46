"""Evaluation of models and policies: closed loop, open loop, and the metrics of probes."""
