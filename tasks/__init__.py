"""Callboard's core: tasks, their lifecycle, the engine that runs them and the doors that take them in."""
