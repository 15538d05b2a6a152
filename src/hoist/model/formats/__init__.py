"""Where the tensors lie in a weight file: pure parsers, one file a format."""
