"""A handler as an HTTP service: what is asked, who may ask, how it starts and ends."""
