"""Planning with world models of this package: configurations, the planner of a checkpoint, policies."""
