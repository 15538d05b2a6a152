"""What a version is: references, manifests and block tables. Pure: nothing here does any I/O."""
