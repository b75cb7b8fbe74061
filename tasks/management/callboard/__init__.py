"""The operators' commands, ``manage.py callboard …``: one module per noun.

Each has ``register(commands)``, which adds its parser; a parser's default ``run`` is the function that gets the options
and the ``Output``. A function reads its options, calls one verb or query and prints; what is printed is one structure
with the keys of the REST API, as JSON or as a table made from it.
"""
