"""The site's URLs: the API, the probes and the metrics of ``callboard.urls``, and the admin."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

handler500 = "scheduler_site.request_budget.server_error"
urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("", include("callboard.urls")),
]
