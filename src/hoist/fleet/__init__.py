"""Many instances of one function started at once: on this host, or on a Ray cluster."""
