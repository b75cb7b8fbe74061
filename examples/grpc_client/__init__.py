"""A client of the gRPC API in Python."""
