-- A large board: {rows} tasks of the last 23 days, one attempt for each that ended, and a dead letter for each that died
-- ("pages" of benchmarks). Every value is a function of the task's number, so that two runs look at the same board.
--
-- Most tasks succeeded; the newest wait or run, and a few of every age wait, are blocked, died or were cancelled. Actors,
-- queues, owners and tags are skewed as in real life; "actor_rare", queue "rare" and tag "rare" have a few old tasks.
CREATE TEMPORARY TABLE board ON COMMIT DROP AS
WITH drawn AS (
    SELECT number, {rows} - number AS age, statement_timestamp() - ({rows} - number) * interval '0.5 seconds' AS at,
           hashint8(number) & 2147483647 AS a, hashint8(number + 1000000007) & 2147483647 AS b,
           hashint8(number + 2000000014) & 2147483647 AS c
    FROM generate_series({first}::bigint, {last}) AS number
)
SELECT number, at,
       (lpad(to_hex((EXTRACT(EPOCH FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(number::text), 1, 3)
        || '8' || substr(md5(number::text), 4, 15))::uuid AS id,
       CASE WHEN age < 64 THEN 'RUNNING'
            WHEN age < 1064 THEN 'QUEUED'
            WHEN age < {rows} / 40 THEN 'PENDING'
            WHEN a % 10000 < 128 THEN 'DEAD'
            WHEN a % 10000 < 300 THEN 'CANCELLED'
            WHEN a % 10000 < 330 THEN 'RETRYING'
            WHEN a % 10000 < 430 THEN 'PENDING'
            WHEN a % 10000 < 440 THEN 'BLOCKED'
            ELSE 'SUCCEEDED' END AS status,
       -- A rare one has 200 tasks, all in the first tenth.
       (age > {rows} * 0.9 AND number % GREATEST({rows} / 2000, 1) = 0) AS is_rare,
       'actor_' || lpad(floor(40 * power(b / 2147483648.0, 3))::text, 2, '0') AS actor,
       (ARRAY['default', 'default', 'default', 'default', 'mail', 'mail', 'video', 'reports'])[1 + c % 8] AS queue,
       1 + b % 10 AS priority,
       CASE WHEN a % 10 < 6 THEN {first_owner} + floor(20 * power(c / 2147483648.0, 2))::int END AS owner_id,
       CASE WHEN c % 10 = 0 THEN '{{nightly}}'::varchar[]
            WHEN c % 10 < 3 THEN ARRAY['tenant:' || b % 5000]::varchar[]
            ELSE '{{}}' END AS tags
FROM drawn;

INSERT INTO callboard_task (
    id, actor, payload, args, options, queue, priority, run_at, created_at, status, dispatch, attempt, failures,
    max_retries, min_backoff_seconds, max_backoff_seconds, time_limit_seconds, tags, trace_id, owner_id, worker_id,
    queued_at, started_at, finished_at, error
)
SELECT id, CASE WHEN is_rare THEN 'actor_rare' ELSE actor END,
       jsonb_build_object('number', number, 'to', 'somebody@example.com'), '[]', '{{}}',
       CASE WHEN is_rare THEN 'rare' ELSE queue END, priority,
       CASE WHEN status = 'RETRYING' THEN statement_timestamp() + interval '1 hour'
            WHEN status = 'PENDING' AND number < {rows} * 0.97 THEN statement_timestamp() + number % 86400 * interval '1 s'
            ELSE at END,
       at, status, was_run::int, was_run::int, (status IN ('DEAD', 'RETRYING'))::int, 3, 2, 3600, 300,
       CASE WHEN is_rare THEN '{{rare}}' ELSE tags END, md5((number / 2)::text), owner_id,
       CASE WHEN status = 'RUNNING' THEN id END, CASE WHEN was_run OR status = 'QUEUED' THEN at END,
       CASE WHEN was_run THEN at + interval '1 s' END,
       CASE WHEN status IN ('SUCCEEDED', 'DEAD', 'CANCELLED') THEN at + number % 60 * interval '1 s' END,
       CASE WHEN status IN ('DEAD', 'RETRYING') THEN 'RuntimeError: no answer from host ' || number % 97 ELSE '' END
FROM (SELECT *, status IN ('RUNNING', 'SUCCEEDED', 'DEAD', 'RETRYING') AS was_run FROM board) AS board;

INSERT INTO callboard_attempt (task_id, number, outcome, worker_id, started_at, finished_at, error_type, error_message)
SELECT id, 1, CASE WHEN status = 'SUCCEEDED' THEN 'SUCCEEDED' ELSE 'FAILED' END, id, at + interval '1 s',
       at + (1 + number % 60) * interval '1 s',
       CASE WHEN status = 'SUCCEEDED' THEN '' ELSE 'RuntimeError' END,
       CASE WHEN status = 'SUCCEEDED' THEN '' ELSE 'no answer from host ' || number % 97 END
FROM board WHERE status IN ('SUCCEEDED', 'DEAD', 'RETRYING');

INSERT INTO callboard_deadletter (
    id, task_id, attempt, actor, queue, owner_id, reason, error_type, error_message, fingerprint, died_at, resolution,
    resolved_by, resolved_at
)
SELECT id, id, 1, CASE WHEN is_rare THEN 'actor_rare' ELSE actor END, CASE WHEN is_rare THEN 'rare' ELSE queue END,
       owner_id, (ARRAY['max_retries_exceeded', 'not_retryable', 'crash_loop'])[1 + number % 3], 'RuntimeError',
       'no answer from host ' || number % 97, md5(actor), at + number % 60 * interval '1 s',
       (ARRAY['', 'REDRIVEN', 'DISCARDED', 'DISCARDED'])[1 + number % 4],
       CASE WHEN number % 4 = 0 THEN '' ELSE 'operator' END,
       CASE WHEN number % 4 = 0 THEN NULL ELSE statement_timestamp() END
FROM board WHERE status = 'DEAD';
