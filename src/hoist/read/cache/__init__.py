"""The host cache: verified blocks kept on one host, shared by every process on it."""
