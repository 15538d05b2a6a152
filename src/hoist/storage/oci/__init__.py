"""OCI content: manifests and blobs in repositories, in a registry over HTTP, in a layout folder, or in an archive."""
