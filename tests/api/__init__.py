"""Tests of the REST API, its description and the health probes."""
