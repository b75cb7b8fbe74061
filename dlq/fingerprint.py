"""The fingerprint of a death's cause: a hash of actor, error type and message without its variable parts."""

import hashlib
import re

from tasks.masking import masked_text

# Ids, addresses, numbers and quoted values differ between two deaths of one cause; words do not.
_VARIABLE = re.compile(r"0x[0-9a-f]+|[0-9a-f]{8}-[0-9a-f-]{27}|\d+|'[^']*'|\"[^\"]*\"", re.IGNORECASE)
_LONGEST = 1000


def fingerprint(actor: str, error_type: str, message: str) -> str:
    """Hash the parts that deaths of one cause share; 32 hexadecimal digits.

    >>> fingerprint("mail", "KeyError", "order 17") == fingerprint("mail", "KeyError", "order 18")
    True
    """
    # Without secrets: they differ between deaths of one cause too, and a hash of one could be guessed.
    normalised = _VARIABLE.sub("#", masked_text(message[:_LONGEST]))
    return hashlib.sha256("\0".join((actor, error_type, normalised)).encode()).hexdigest()[:32]
