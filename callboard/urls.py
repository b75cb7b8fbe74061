"""The API, the probes and the metrics: ``path("callboard/", include("callboard.urls"))`` adds them to a project."""

from django.urls import include, path

urlpatterns = [path("", include("tasks.api.urls")), path("api/v1/", include("dlq.api"))]
