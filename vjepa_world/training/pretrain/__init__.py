"""Pretraining: a video encoder, trained on unlabeled clips."""
