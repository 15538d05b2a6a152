"""Measure Hoist against its peers, on checkpoints like the real ones."""
