"""Several storages as one: read from the first that answers, by preference, and from the next when it is lost or slow."""
