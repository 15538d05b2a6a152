"""A NAS without a mount: NFSv4 in user space. `libnfs` calls the library, `session` is one connection, `contexts` a pool
of them; `objects` makes a place of plain keys of them."""
