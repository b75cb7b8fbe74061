"""The REST API of actors."""

from rest_framework.request import Request
from rest_framework.response import Response

from tasks.api.addresses import parameters
from tasks.api.permissions import caller_of
from tasks.api.views import ApiView
from tasks.contract import fields
from tasks.contract.access import VIEW_ACTORS
from tasks.contract.actors import actor_as_dict, submittable_by


class ActorList(ApiView):
    """``GET actors``."""

    actions = {"GET": VIEW_ACTORS}

    def get(self, request: Request) -> Response:
        """List the actors that you can submit tasks to, by name."""
        fields.read_parameters(parameters(request), {})
        caller = caller_of(request)
        return Response({"results": [actor_as_dict(spec, caller=caller) for spec in submittable_by(caller)]})
