"""The losses of the pretraining objectives, as functions on tensors."""
