"""Planning with world models of this package: configurations, the planner of a checkpoint, policies."""

from vjepa_world.system.packages import check_siblings

check_siblings("planners")
