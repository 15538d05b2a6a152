"""Comparing storages with what they should hold: the plan, the bytes, the permissions; and healing what can be healed."""
