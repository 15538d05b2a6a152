"""What was measured, and what it means for a fleet, as one page that needs nothing else: `hoist report`."""
