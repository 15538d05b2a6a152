"""What works on this machine and what does not, each with its mend: `hoist doctor`.

The package is not called `doctor`: `hoist.doctor` is the function.
"""
