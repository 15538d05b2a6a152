"""Hoist."""
