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

#: The same of batches whose tasks are all there.
OF_BATCHES = {
    "no batch waits whose tasks have ended": """
        SELECT batch.id FROM callboard_batch AS batch WHERE batch.status = 'RUNNING' AND NOT EXISTS (
            SELECT FROM callboard_task AS task
            WHERE task.batch_id = batch.id AND task.status NOT IN ('SUCCEEDED', 'DEAD', 'CANCELLED'))""",
    "a batch has counted its tasks": """
        SELECT batch.id FROM callboard_batch AS batch
        WHERE (batch.total, batch.succeeded, batch.dead, batch.cancelled) IS DISTINCT FROM (
            SELECT (count(*)::int, (count(*) FILTER (WHERE task.status = 'SUCCEEDED'))::int,
                    (count(*) FILTER (WHERE task.status = 'DEAD'))::int,
                    (count(*) FILTER (WHERE task.status = 'CANCELLED'))::int)
            FROM callboard_task AS task WHERE task.batch_id = batch.id)
        UNION ALL
        SELECT delta.batch_id FROM callboard_batchdelta AS delta""",
    "what a batch calls back is one task": """
        SELECT batch.id
        FROM callboard_batch AS batch CROSS JOIN LATERAL jsonb_object_keys(batch.callbacks) AS callback (name)
        WHERE batch.status IN ('SUCCEEDED', 'FAILED', 'CANCELLED') AND NOT batch.called ? callback.name
          AND CASE callback.name WHEN 'on_death' THEN batch.dead > 0
                                 WHEN 'on_success' THEN batch.status = 'SUCCEEDED' ELSE true END
        UNION ALL
        SELECT batch.id FROM callboard_batch AS batch LEFT JOIN (
            SELECT task.options ->> 'callback_of' AS id, count(*) FROM callboard_task AS task
            WHERE task.options ? 'callback_of' GROUP BY 1) AS submitted ON submitted.id = batch.id::text
        WHERE COALESCE(submitted.count, 0) <> (SELECT count(*) FROM jsonb_object_keys(batch.called))""",
}
