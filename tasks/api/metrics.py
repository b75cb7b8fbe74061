"""``/metrics``, for Prometheus: with the permission to see workers; ``METRICS_ADDRESS`` serves them without one."""

from django.http import HttpResponse
from prometheus_client import CONTENT_TYPE_LATEST
from rest_framework.request import Request

from tasks.api.views import ApiView
from tasks.contract.access import VIEW_METRICS
from tasks.telemetry import metrics


class Metrics(ApiView):
    """``GET /metrics``."""

    actions = {"GET": VIEW_METRICS}

    def get(self, request: Request) -> HttpResponse:
        """Write the counters of all processes on this machine and the gauges from the database."""
        return HttpResponse(metrics.render(), content_type=CONTENT_TYPE_LATEST)
