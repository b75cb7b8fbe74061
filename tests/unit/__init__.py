"""No database."""
