"""Files that deploy a model and its function: an `s.yaml` of Function Compute, Kubernetes manifests, a Ray Serve config.

All of it is computed from what is given: no network, no clock. The same input makes the same bytes, and none is a secret.
"""
