"""``/api/schema`` and ``/api/docs``: the OpenAPI description and its page, open to everybody."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe

from tasks.api import openapi

MEDIA_TYPE = "application/vnd.oai.openapi+json;version=3.1"


@csrf_exempt
@require_safe
def schema(request: HttpRequest) -> HttpResponse:
    """Give the OpenAPI description; its server is the path that the caller knows this site by."""
    prefix = reverse("api-schema").removesuffix("/api/schema")
    return JsonResponse(openapi.document() | {"servers": [{"url": prefix or "/"}]}, content_type=MEDIA_TYPE)


@csrf_exempt
@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """Show the description; every script and style comes from this site."""
    return render(request, "callboard/api/docs.html")
