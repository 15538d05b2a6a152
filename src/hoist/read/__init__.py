"""Plan, fetch, verify: from "these ranges of this file" to verified bytes in memory."""
