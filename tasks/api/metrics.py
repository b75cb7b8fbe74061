"""``/metrics``, for Prometheus: open to this machine, elsewhere with the permission to see workers."""

from collections.abc import Mapping
from typing import ClassVar

from django.http import HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.views import APIView

from tasks.api.permissions import MayAct
from tasks.api.views import ApiView
from tasks.contract.access import VIEW_METRICS, Action
from tasks.contract.client_address import parsed
from tasks.telemetry import metrics

#: A request with one of these came through a proxy, so its sender may be anywhere.
PROXY_HEADERS = ("HTTP_X_FORWARDED_FOR", "HTTP_X_REAL_IP", "HTTP_FORWARDED", "HTTP_VIA", "HTTP_X_FORWARDED_HOST")


class IsLocal(BasePermission):
    """Lets in requests from this machine that did not come through a proxy."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Check the address of the connection; a header could claim any address."""
        if any(header in request.META for header in PROXY_HEADERS):
            return False
        address = parsed(request.META.get("REMOTE_ADDR", ""))
        return address is not None and address.is_loopback


class Metrics(ApiView):
    """``GET /metrics``."""

    permission_classes = (IsLocal | (IsAuthenticated & MayAct),)
    actions: ClassVar[Mapping[str, Action]] = {"GET": VIEW_METRICS}

    def get(self, request: Request) -> HttpResponse:
        """Write the counters of all processes on this machine and the gauges from the database."""
        return HttpResponse(metrics.render(), content_type=CONTENT_TYPE_LATEST)
