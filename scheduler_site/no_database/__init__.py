"""The database backend of a project without ``DATABASE_URL``: whatever asks it for data gets told what to set."""
