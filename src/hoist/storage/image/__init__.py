"""Storages of kind `image`: versions in the layers of container images, over any place of OCI content."""
