"""Bringing versions into a storage, out of it, and checking what lies there."""
