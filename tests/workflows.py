"""The invariants of dependencies once nothing is left to settle; for the races and the soak test."""

#: Name → the rows that break it: no query finds any.
INVARIANTS = {
    "no task is BLOCKED whose parents let it run, or have cancelled it": """
        SELECT task.id FROM callboard_task AS task WHERE task.status = 'BLOCKED' AND (
            task.pending_parents = 0
            OR EXISTS (SELECT FROM callboard_dependency AS edge WHERE edge.child_id = task.id AND edge.state = 'FAILED')
            OR NOT EXISTS (SELECT FROM callboard_dependency AS edge WHERE edge.child_id = task.id)
        )""",
    "pending_parents counts the edges that are not met": """
        SELECT task.id FROM callboard_task AS task WHERE task.pending_parents IS DISTINCT FROM (
            SELECT NULLIF(count(*), 0) - count(*) FILTER (WHERE edge.state = 'MET')
            FROM callboard_dependency AS edge WHERE edge.child_id = task.id)""",
    "every parent is settled as what it is": """
        SELECT task.id FROM callboard_task AS task
        WHERE task.settled_as IS DISTINCT FROM
              CASE WHEN task.status IN ('SUCCEEDED', 'DEAD', 'CANCELLED') THEN task.status ELSE 'WAITING' END
          AND task.settled_as IS NOT NULL
        UNION ALL
        SELECT batch.id FROM callboard_batch AS batch
        WHERE batch.settled_as IS DISTINCT FROM
              CASE WHEN batch.status IN ('SUCCEEDED', 'FAILED', 'CANCELLED') THEN batch.status ELSE 'WAITING' END
          AND batch.settled_as IS NOT NULL
        UNION ALL
        SELECT edge.child_id FROM callboard_dependency AS edge WHERE edge.state = 'NEW'""",
    "what has a cause is CANCELLED, by a parent that failed": """
        SELECT task.id FROM callboard_task AS task WHERE task.cause_id IS NOT NULL AND (
            task.status <> 'CANCELLED' OR NOT EXISTS (
                SELECT FROM callboard_dependency AS edge
                WHERE edge.child_id = task.id AND edge.parent_id = task.cause_id AND edge.state = 'FAILED'))""",
    "an edge says what its parent's status says": """
        SELECT edge.child_id FROM callboard_dependency AS edge JOIN callboard_task AS task ON task.id = edge.parent_id
        WHERE edge.state <> CASE
            WHEN task.status NOT IN ('SUCCEEDED', 'DEAD', 'CANCELLED') THEN 'OPEN'
            WHEN task.status = 'SUCCEEDED' OR edge.on_failure = 'run' THEN 'MET'
            WHEN edge.on_failure = 'block' THEN 'OPEN' ELSE 'FAILED' END
        UNION ALL
        SELECT edge.child_id
        FROM callboard_dependency AS edge JOIN callboard_batch AS batch ON batch.id = edge.parent_id
        WHERE edge.state <> CASE
            WHEN batch.status NOT IN ('SUCCEEDED', 'FAILED', 'CANCELLED') THEN 'OPEN'
            WHEN batch.status = 'SUCCEEDED' OR edge.on_failure = 'run' THEN 'MET'
            WHEN edge.on_failure = 'block' THEN 'OPEN' ELSE 'FAILED' END""",
}
