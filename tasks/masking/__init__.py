"""Masking: what is a secret, and what stands in its place at every door and in every log line.

A name tells of a secret (``password``, ``X-Api-Key``, ``dbPassword``), and so does the form of a text (``Bearer …``,
``scheme://user:password@host``, a JWT, a private key). All doors, the logs and the fingerprints of dead letters read
the one rule here. It hides too much rather than too little: what was shown cannot be taken back.
"""

from tasks.masking.names import is_secret
from tasks.masking.values import (
    MASK,
    expect,
    expected,
    masked,
    masked_text,
    masked_with_secrets,
    may_hold_secret,
    secrets_of,
)

__all__ = [
    "MASK",
    "expect",
    "expected",
    "is_secret",
    "masked",
    "masked_text",
    "masked_with_secrets",
    "may_hold_secret",
    "secrets_of",
]
