"""How the storages are: what is in each, how far each is behind, what is read from it now, and what goes wrong."""
