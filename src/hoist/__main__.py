"""`python -m hoist` is the command `hoist`."""

from __future__ import annotations

import sys

from hoist.cli import main

sys.exit(main())
