"""From a version's files to tensors on a device."""
