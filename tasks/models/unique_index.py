"""A unique index that a migration can build beside running workers, which a constraint cannot be."""

from typing import Any

from django.db import models
from django.db.backends.ddl_references import Statement


class UniqueIndex(models.Index):
    """An index that holds each combination of its columns once; ``AddIndexConcurrently`` builds it."""

    def create_sql(self, *args: Any, **kwargs: Any) -> Statement:
        """Write the statement of an index, made unique."""
        statement = super().create_sql(*args, **kwargs)
        statement.template = statement.template.replace("CREATE INDEX", "CREATE UNIQUE INDEX", 1)
        return statement
