"""Flows to try, each an app with actors: add it to ``ACTOR_APPS``."""
