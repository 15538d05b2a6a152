"""Hoist under other people's libraries: each file is one library, imported only when its file is."""
