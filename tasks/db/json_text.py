"""JSON text as jsonb keeps it: a float stays a float.

A jsonb number is a decimal whose digits after the point are kept: ``5.0`` comes back as a float, but ``1e+22``, as
Python writes it, comes back as a whole number of 23 digits. That is another type, and beyond 64 bits.
"""

import re

# Strings and numbers as a whole: a search that began again at each digit of a long number would take quadratic time.
_STRING_OR_NUMBER = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[0-9.]+(?:e\+[0-9]+)?', re.DOTALL)


def with_plain_floats(text: str) -> str:
    """Write out the digits of floats that Python writes with a positive exponent; all of them are whole.

    >>> with_plain_floats('[1e+16, -2.5e+17, 1.5, "1e+16"]')
    '[10000000000000000.0, -250000000000000000.0, 1.5, "1e+16"]'
    """
    return _STRING_OR_NUMBER.sub(_plain, text) if "e+" in text else text


def _plain(found: re.Match[str]) -> str:
    token = found[0]
    if token[0] == '"' or "e+" not in token:
        return token
    digits, _, exponent = token.partition("e+")
    whole, _, fraction = digits.partition(".")
    return f"{whole}{fraction.ljust(int(exponent), '0')}.0"
