"""RLDS (TFRecord) datasets, as of Open X-Embodiment."""
