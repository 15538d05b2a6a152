"""Which storage a model should live in, for a given fleet: predicted, priced, ranked, explained.

Pure but for reading documents: no clock, no network. Shipped facts until there are the user's own measurements, then those.
"""
