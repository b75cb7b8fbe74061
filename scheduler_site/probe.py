"""A health check for containers: ``python -m scheduler_site.probe URL`` exits with 0 when a process answers there."""

import sys
from urllib.error import HTTPError
from urllib.request import urlopen

TIMEOUT_SECONDS = 4


def answers(url: str) -> bool:
    """Tell whether a process answers; a demand for credentials is an answer too."""
    try:
        with urlopen(url, timeout=TIMEOUT_SECONDS):  # noqa: S310
            return True
    except HTTPError as error:
        return error.code < 500
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(0 if answers(sys.argv[1]) else f"{sys.argv[1]} does not answer, or with an error")
