"""A shop, and a day of its history with a bad deploy in it."""
