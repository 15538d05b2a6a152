"""Other people's tools reading from Hoist: each module needs the package it is named after, and nothing imports them."""
