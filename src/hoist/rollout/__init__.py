"""Moving a tag region by region, with a check between, and back."""
