"""The networks: transformer, encoder, masked and action-conditioned predictor, and the world model of both."""
