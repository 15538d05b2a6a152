"""AUTOMATIC1111 extension: checkpoints of a storage in its list, with hashes from the manifest. Link this folder into
the web interface's `extensions`; `scripts/hoist_checkpoints.py` is what it runs.
"""
