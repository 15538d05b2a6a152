"""A regional read cache before an object store: nginx, configured, supervised and counted."""
