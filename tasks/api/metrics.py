"""``/metrics``: for Prometheus on this machine, or with the token of a member of staff."""

from django.http import HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST
from rest_framework.permissions import BasePermission, IsAdminUser
from rest_framework.request import Request
from rest_framework.views import APIView

from tasks.api.views import ApiView
from tasks.contract.client_address import parsed
from tasks.telemetry import metrics

#: A request that came through a proxy comes from somewhere else, whatever its last hop's address is.
PROXY_HEADERS = ("HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_FORWARDED", "HTTP_VIA", "HTTP_X_FORWARDED_HOST")


class IsNear(BasePermission):
    """Lets in who asks from this machine without a proxy in between."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Look at the connection's address, never at what a header says."""
        if any(header in request.META for header in PROXY_HEADERS):
            return False
        address = parsed(request.META.get("REMOTE_ADDR", ""))
        return address is not None and address.is_loopback


class Metrics(ApiView):
    """``GET /metrics``."""

    permission_classes = (IsNear | IsAdminUser,)

    def get(self, request: Request) -> HttpResponse:
        """Write the counters of all processes of this machine and the database's gauges."""
        return HttpResponse(metrics.render(), content_type=CONTENT_TYPE_LATEST)
