"""Tests of the doors: the REST API, the admin, health probes and logs."""
