"""Open-loop evaluation: predictions and plans compared with recorded episodes, no environment needed."""
