"""Fine-tuning: the action-conditioned predictor, trained on a frozen encoder."""
