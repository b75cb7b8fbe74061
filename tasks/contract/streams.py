"""Bodies that are made piece by piece, for the servers of both kinds."""

from collections.abc import AsyncIterator, Iterator

from asgiref.sync import sync_to_async


def streamed(pieces: Iterator[bytes], *, is_async: bool) -> Iterator[bytes] | AsyncIterator[bytes]:
    """Give the pieces of a body as its server reads them.

    Parameters:
        is_async: whether that is an ASGI server. Django would collect all pieces before it gets the first.
    """
    return _from_thread(pieces) if is_async else pieces


async def _from_thread(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Make each piece in the thread of the request, where its session with the database is."""
    make = sync_to_async(lambda: next(pieces, None))
    while (piece := await make()) is not None:
        yield piece
