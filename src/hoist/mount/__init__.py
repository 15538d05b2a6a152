"""The mount: versions of storages as a read-only tree of files, spoken to the kernel directly."""
