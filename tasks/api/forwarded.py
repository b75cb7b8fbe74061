"""The scheme and host that a caller used, as a trusted proxy reports them."""

from django.http import HttpRequest

from tasks.contract.client_address import forwarded

_SCHEMES = ("http", "https")


def apply(request: HttpRequest) -> None:
    """Make a request's scheme and host those of the outermost trusted proxy; headers of others change nothing.

    Every later reader, Django's own included, then finds the right ones: addresses in answers, redirects, secure
    cookies, the origin of a form. The standard header ``Forwarded`` is not read: few proxies write it, most pass on
    what the caller wrote, and two sources could contradict each other.
    """
    scheme = _written(request, "HTTP_X_FORWARDED_PROTO").lower()
    if scheme in _SCHEMES:
        request.META["wsgi.url_scheme"] = scheme
    host = _written(request, "HTTP_X_FORWARDED_HOST")
    if host:
        request.META["HTTP_HOST"] = host


def _written(request: HttpRequest, header: str) -> str:
    meta = request.META
    value = meta.get(header, "")
    return value and forwarded(
        value, peer=meta.get("REMOTE_ADDR", ""), forwarded_for=meta.get("HTTP_X_FORWARDED_FOR", "")
    )
