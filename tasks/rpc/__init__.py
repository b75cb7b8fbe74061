"""The gRPC API: the REST API's rules behind the services of ``proto/callboard/v1``."""
