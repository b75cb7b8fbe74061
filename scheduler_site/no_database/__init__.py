"""The database backend of a project without ``DATABASE_URL``: every query raises an error that says what to set."""
