"""Frozen encoders other than ours: registered ones, backbones of transformers, functions of users, controls."""
