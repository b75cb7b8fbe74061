"""Django's backend for PostgreSQL, with calls that end in time."""
