"""Closed-loop evaluation: a policy drives the environment and successes are counted."""
