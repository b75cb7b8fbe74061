"""How the product talks to PostgreSQL: statements, sessions, time-outs of calls, and its clock."""
