"""The root of every error that planners raise on purpose."""

from __future__ import annotations


class PlannerError(Exception):
    """What a planner got, what it allows, and what to do."""
