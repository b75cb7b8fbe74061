"""Load from many clients, by HTTP and gRPC."""
