"""YAML of the verbs, and the groups `model/`, `env/`, `planner/` that they choose from."""
