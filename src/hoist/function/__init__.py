"""The function: a server that switches models and says where the time went."""
