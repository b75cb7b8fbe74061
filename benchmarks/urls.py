"""Callboard's URLs and the bare view."""

from django.urls import path
from rest_framework.permissions import IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from scheduler_site.urls import urlpatterns as callboards
from tasks.api.authentication import BearerTokenAuthentication
from tasks.api.permissions import caller_of
from tasks.contract.rate_limit import SubmissionLimit
from tasks.models import Journal, new_id


class Bare(APIView):
    """The simplest comparable view: REST framework, Callboard's authentication and limit, one INSERT by the ORM."""

    authentication_classes = (BearerTokenAuthentication,)
    permission_classes = (IsAuthenticated,)

    def post(self, request: Request) -> Response:
        """Store the body."""
        SubmissionLimit(caller_of(request))(1)
        event = Journal.objects.create(task_id=new_id(), kind="task", verb="bare", detail=request.data)
        return Response({"id": event.pk, "detail": request.data}, status=201)


urlpatterns = [path("bare", Bare.as_view()), *callboards]
