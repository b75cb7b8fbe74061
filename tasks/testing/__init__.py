"""Hooks in the product for its tests: failpoints."""
