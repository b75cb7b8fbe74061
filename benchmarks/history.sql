-- What a control plane has collected beside the board of board.sql ("pages" of benchmarks): statistics of sixty days,
-- failures, the journal, operations and schedules.
WITH of_board AS (
    SELECT actor, queue, outcome
    FROM generate_series(0, 39) AS number, unnest(ARRAY['default', 'mail']) AS queue,
         unnest(ARRAY['SUBMITTED', 'SUCCEEDED', 'RETRYING', 'DEAD']) AS outcome,
         LATERAL (SELECT 'actor_' || lpad(number::text, 2, '0') AS actor) AS named
), period AS (
    -- As the leader folds them: minutes of the last two hours, ten minutes of the last day, then hours.
    SELECT span, statement_timestamp() - number * span * interval '1 s' AS at
    FROM (VALUES (60, 0, 129), (600, 13, 156), (3600, 27, 1440)) AS kept (span, first, last),
         generate_series(first, last) AS number
)
INSERT INTO callboard_taskstat (span_seconds, start, actor, queue, outcome, count, run_seconds, waits, runs)
SELECT span, date_bin(span * interval '1 s', at, 'epoch'), actor, queue, outcome, span, span * 0.1,
       CASE WHEN outcome = 'SUBMITTED' THEN '{}'::bigint[] ELSE ARRAY[0, 0, span / 2, span / 2] END,
       CASE WHEN outcome = 'SUBMITTED' THEN '{}'::bigint[] ELSE ARRAY[0, 0, 0, 0, 0, span] END
FROM period, of_board
ON CONFLICT DO NOTHING;

INSERT INTO callboard_failure (
    fingerprint, actor, error_type, error_message, task_id, frame, first_seen_at, last_seen_at, open, total
)
SELECT fingerprint, min(actor), 'RuntimeError', 'no answer from host 17', (array_agg(task_id))[1], 'app/mail.py:17 send',
       min(died_at), max(died_at), count(*) FILTER (WHERE resolution = ''), count(*)
FROM callboard_deadletter GROUP BY fingerprint;

INSERT INTO callboard_failure (fingerprint, actor, error_type, error_message, first_seen_at, last_seen_at, open, total)
SELECT md5('failure ' || number), 'actor_00', 'KeyError', 'key ' || number, at - interval '1 day', at, number % 3, 10
FROM generate_series(1, 5000) AS number, LATERAL (SELECT statement_timestamp() - number * interval '5 min' AS at) AS seen;

INSERT INTO callboard_journal (at, verb, by, door, reason, kind, object_id, task_id, actor, queue)
SELECT died_at, CASE WHEN resolution = 'REDRIVEN' THEN 'redrive' ELSE 'discard' END, 'operator ' || hashtext(id::text) % 20,
       'admin', 'because', 'dead_letter', id::text, task_id, actor, queue
FROM callboard_deadletter ORDER BY died_at;

INSERT INTO callboard_operation (id, verb, state, by, door, reason, created_at, started_at, ended_at, total, moved, succeeded)
SELECT (lpad(to_hex((EXTRACT(EPOCH FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(number::text), 1, 3)
        || '8' || substr(md5(number::text), 4, 15))::uuid,
       'redrive', 'DONE', 'operator', 'admin', 'because', at, at, at, size, size, size
FROM generate_series(1, 2000) AS number,
     LATERAL (SELECT statement_timestamp() - number * interval '10 min' AS at,
                     CASE WHEN number = 1 THEN 10000 ELSE 10 END AS size) AS made;

INSERT INTO callboard_operationitem (operation_id, row_id, task_id, state, moved_at, ended_at)
SELECT (SELECT id FROM callboard_operation ORDER BY id DESC LIMIT 1), id, task_id, 'SUCCEEDED', died_at, died_at
FROM callboard_deadletter LIMIT 10000;

INSERT INTO callboard_schedule (
    id, name, actor, payload, options, cron, created_at, catch_up_window_seconds, jitter_seconds, next_fire_at
)
SELECT gen_random_uuid(), 'schedule ' || number, 'actor_' || lpad((number % 40)::text, 2, '0'), '{}', '{}',
       number % 60 || ' * * * *', statement_timestamp(), 86400, 0, statement_timestamp() + number * interval '1 s'
FROM generate_series(1, 1000) AS number;

INSERT INTO callboard_queue (name)
SELECT unnest(ARRAY['default', 'mail', 'video', 'reports']) ON CONFLICT DO NOTHING;
