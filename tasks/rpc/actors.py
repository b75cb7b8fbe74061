"""The method of actors."""

from collections.abc import Mapping
from typing import Any

from tasks.contract.access import VIEW_ACTORS
from tasks.contract.actors import actor_as_dict, submittable_by
from tasks.rpc.calls import Call, Method, Values
from tasks.rpc.generated import actor_pb2 as pb


def list_actors(call: Call, asked: Values) -> Mapping[str, Any]:
    """List the actors that the caller can submit tasks to, by name."""
    return {"actors": [actor_as_dict(spec, caller=call.caller) for spec in submittable_by(call.caller)]}


METHODS = {"ListActors": Method(VIEW_ACTORS, list_actors, pb.ListActorsRequest, pb.ListActorsResponse)}
