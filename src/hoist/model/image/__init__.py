"""What a container image that holds models looks like, to the byte. Pure: documents and tar layers, no I/O."""
