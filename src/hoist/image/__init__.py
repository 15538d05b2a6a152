"""Runnable images with models in them: built, updated, planned and copied without a container engine."""
