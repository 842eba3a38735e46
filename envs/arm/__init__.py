"""The arm: its model, its kinematics and its controller."""
