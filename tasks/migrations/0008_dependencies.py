"""Add dependencies: a table of edges, and columns that plain tasks leave empty."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models
from django.db.models import F, Q

FINAL = ["CANCELLED", "DEAD", "SUCCEEDED"]


class Migration(migrations.Migration):
    # An index is built beside running transactions only outside of one.
    atomic = False
    dependencies = [("callboard", "0007_list_indexes")]
    operations = [
        migrations.AddField(
            "task",
            "pending_parents",
            models.PositiveIntegerField(
                null=True, blank=True, help_text="Tasks that it still depends on. Empty: it never depended on one."
            ),
        ),
        migrations.AddField(
            "task",
            "cause_id",
            models.UUIDField(null=True, blank=True, help_text="The task whose end cancelled this one."),
        ),
        migrations.AddField(
            "task",
            "settled_as",
            models.CharField(
                max_length=9,
                null=True,
                blank=True,
                help_text="As what its children know it: WAITING, a final status, or CHECK. Empty: it has no children.",
            ),
        ),
        migrations.CreateModel(
            "Dependency",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "child_id", "parent_id", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "child",
                    models.ForeignKey(
                        "callboard.task",
                        db_constraint=False,
                        db_index=False,
                        on_delete=models.DO_NOTHING,
                        related_name="parent_edges",
                    ),
                ),
                (
                    "parent",
                    models.ForeignKey(
                        "callboard.task",
                        db_constraint=False,
                        db_index=False,
                        on_delete=models.DO_NOTHING,
                        related_name="child_edges",
                    ),
                ),
                (
                    "on_failure",
                    models.CharField(
                        max_length=6,
                        choices=[
                            ("cancel", "Cancel it"),
                            ("run", "Run it all the same"),
                            ("block", "Leave it blocked"),
                        ],
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        max_length=6,
                        choices=[
                            ("NEW", "Not linked to its parent yet"),
                            ("OPEN", "The parent has not ended"),
                            ("MET", "The child need not wait for the parent"),
                            ("FAILED", "The parent's end cancelled the child"),
                        ],
                    ),
                ),
            ],
            options={
                "db_table": "callboard_dependency",
                "constraints": [
                    models.CheckConstraint(
                        name="dependency_state_known", condition=Q(state__in=["NEW", "OPEN", "MET", "FAILED"])
                    ),
                    models.CheckConstraint(
                        name="dependency_on_failure_known", condition=Q(on_failure__in=["cancel", "run", "block"])
                    ),
                ],
                "indexes": [
                    models.Index("parent", "state", "child", name="dependency_children_idx"),
                    models.Index("parent", name="dependency_new_idx", condition=Q(state="NEW")),
                ],
            },
        ),
        AddIndexConcurrently(
            "task",
            models.Index(
                "id",
                name="task_unsettled_idx",
                condition=Q(settled_as="WAITING", status__in=FINAL)
                | (
                    Q(settled_as__in=["CANCELLED", "CHECK", "DEAD", "SUCCEEDED"])
                    & (Q(settled_as__lt=F("status")) | Q(settled_as__gt=F("status")))
                ),
            ),
        ),
    ]
