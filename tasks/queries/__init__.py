"""Queries for pages, doors and the scheduler: they read without locks, at a bounded cost."""
