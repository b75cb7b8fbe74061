"""Flows to start from; each is an app with actors, and ``ACTOR_APPS`` loads it."""
