"""Signatures of versions: what is signed (pure), the file that holds it, and who may have signed."""
