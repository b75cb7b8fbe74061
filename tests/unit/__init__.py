"""Tests of pure functions, settings and files; most of them need no database."""
