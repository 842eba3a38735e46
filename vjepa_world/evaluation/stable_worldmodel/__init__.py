"""Evaluation by stable-worldmodel's own code: its worlds, its start and goal protocol, and the stricter criteria.

Needs stable-worldmodel (docs/stable_worldmodel.md); importing this package does not.
"""
