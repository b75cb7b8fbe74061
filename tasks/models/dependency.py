"""The dependency: a task, the child, that waits for the end of its parent, another task or a batch."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from tasks.models.task import Task
from tasks.states import EdgeState, OnFailure


class Dependency(models.Model):
    """An edge of a workflow. It comes with its child, and goes with it; ``tasks.lifecycle`` changes its state."""

    pk = models.CompositePrimaryKey("child_id", "parent_id")
    # Constraints would lock the parent while the child is submitted.
    child = models.ForeignKey(
        Task, db_constraint=False, db_index=False, on_delete=models.DO_NOTHING, related_name="parent_edges"
    )
    parent = models.ForeignKey(
        Task, db_constraint=False, db_index=False, on_delete=models.DO_NOTHING, related_name="child_edges"
    )
    is_batch = models.BooleanField(
        db_default=False, default=False, help_text="The parent is a batch; parent_id is the id of that."
    )
    on_failure = models.CharField(max_length=6, choices=OnFailure.choices)
    state = models.CharField(max_length=6, choices=EdgeState.choices)

    class Meta:
        db_table = "callboard_dependency"
        constraints = [
            models.CheckConstraint(name="dependency_state_known", condition=Q(state__in=EdgeState.values)),
            models.CheckConstraint(name="dependency_on_failure_known", condition=Q(on_failure__in=OnFailure.values)),
        ]
        indexes = [
            # The children of a parent: those that its end concerns, and those of a graph.
            models.Index("parent", "state", "child", name="dependency_children_idx"),
            # The leader: what was submitted since it last looked.
            models.Index("parent", name="dependency_new_idx", condition=Q(state=EdgeState.NEW)),
        ]

    def __str__(self) -> str:
        return f"{self.child_id} waits for {self.parent_id}"
