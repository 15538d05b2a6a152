"""Keeping storages in step with one of them, by a plan: what differs, and doing away with it."""
