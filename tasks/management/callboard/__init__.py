"""The operators' commands, ``manage.py callboard …``: one module per noun.

Each module has ``register(commands)``, which adds its parsers. The default ``run`` of a parser is the function that
gets the options and the ``Output``. It reads its options, calls one verb or query and prints one structure with the
keys of the REST API, as JSON or as a table.
"""
