"""Tasks: what an episode asks of the arm."""
