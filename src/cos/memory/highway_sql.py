"""The highway's statements: groups and their places, dead letters, projections; each with why it is right."""

# ruff: noqa: S608  (put together from the constants of this file, never from a value)

from __future__ import annotations

from cos.memory.sql import ENVELOPE_TEXT

# A group that registers: the first time it is given where it begins; later its definition is told anew and that stays.
REGISTER_GROUP = """
    INSERT INTO highway.consumer_group (name, generation, xact, seq, definition, created_at, seen_at)
    VALUES ($1, $2, $3::xid8, $4, $5, $6, $6)
    ON CONFLICT (name) DO UPDATE SET definition = excluded.definition, seen_at = excluded.seen_at
"""

# Where a group stands in a stream: the place kept for it, else its beginning, which is known for the generation that it
# registered in; a later generation is read from its beginning.
GROUP_BEGINS = """
    SELECT COALESCE(p.xact, g.xact) AS xact, COALESCE(p.seq, g.seq) AS seq
    FROM (SELECT 1) AS one
    LEFT JOIN highway.group_position AS p ON p.group_name = $1 AND p.generation = $2 AND p.module = $3
    LEFT JOIN highway.consumer_group AS g ON g.name = $1 AND g.generation = $2
"""

# One process at a time begins a group in a module: the next sees what it has kept here, and made in Redis.
ALONE_IN_BEGINNING = "SELECT pg_advisory_xact_lock(hashtextextended('cos group begins ' || $1, 0))"

GROUP_WAS_THERE = (
    "SELECT EXISTS (SELECT 1 FROM highway.group_position WHERE group_name = $1 AND module = $2) AS was_there"
)

# The place at which the group begins, kept from its beginning on; one that is kept already stays.
GROUP_IS_THERE = """
    INSERT INTO highway.group_position (group_name, generation, module, xact, seq, moved_at)
    SELECT $1, $2, $3, COALESCE(g.xact, '0'::xid8), COALESCE(g.seq, 0), $4
    FROM (SELECT 1) AS one
    LEFT JOIN highway.consumer_group AS g ON g.name = $1 AND g.generation = $2
    ON CONFLICT (group_name, generation, module) DO NOTHING
"""

# Places only rise: what was done once stays done, even where Redis has lost its tail and knows less.
GROUP_REACHED = """
    INSERT INTO highway.group_position AS p (group_name, generation, module, xact, seq, moved_at)
    SELECT $1, $2, a.module, a.xact::xid8, a.seq, $6
    FROM unnest($3::text[], $4::text[], $5::bigint[]) AS a (module, xact, seq)
    ON CONFLICT (group_name, generation, module) DO UPDATE
    SET xact = excluded.xact, seq = excluded.seq, moved_at = excluded.moved_at
    WHERE (excluded.xact, excluded.seq) > (p.xact, p.seq)
"""

# The last position below the horizon.
SETTLED_TOP = """
    SELECT xact, seq FROM l1.record WHERE xact < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY xact DESC, seq DESC LIMIT 1
"""

# What a stream held between two positions; both are below the horizon, so the answer is final.
BETWEEN = f"""
    SELECT xact, seq, {ENVELOPE_TEXT} AS envelope FROM l1.record
    WHERE module = $1 AND (xact, seq) > ($2::xid8, $3::bigint) AND (xact, seq) <= ($4::xid8, $5::bigint)
    ORDER BY xact, seq LIMIT $6
"""

ENVELOPE_AT = f"SELECT {ENVELOPE_TEXT} FROM l1.record WHERE xact = $1::xid8 AND seq = $2 AND module = $3"

# Buried again: one that waits for its delivery, or is under way, stays so; one that was delivered since is dead again;
# one that is dead keeps the error that it died of.
BURY = """
    INSERT INTO highway.dead_letter AS d (
        id, group_name, generation, module, xact, seq, type, subject, event, error, traceback, attempts, state,
        first_failed_at, last_failed_at
    )
    VALUES ($1, $2, $3, $4, $5::xid8, $6, $7, $8, $9::json, $10, $11, $12, 'dead', $13, $13)
    ON CONFLICT (group_name, generation, module, xact, seq) DO UPDATE SET
        last_failed_at = excluded.last_failed_at,
        attempts = CASE d.state WHEN 'delivered' THEN d.attempts + excluded.attempts ELSE d.attempts END,
        error = CASE d.state WHEN 'delivered' THEN excluded.error ELSE d.error END,
        traceback = CASE d.state WHEN 'delivered' THEN excluded.traceback ELSE d.traceback END,
        state = CASE d.state WHEN 'delivered' THEN 'dead' ELSE d.state END
"""

# Takes the oldest of a group's requeued letters. Committed before the handler is called, so that one requeue can never
# become two deliveries; locked rows are another process's.
TAKE_QUEUED = """
    UPDATE highway.dead_letter SET state = 'delivering', deliveries = deliveries + 1,
        lease_until = now() + make_interval(secs => $2)
    WHERE id = (
        SELECT id FROM highway.dead_letter WHERE state = 'queued' AND group_name = $1
        ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    RETURNING id, generation, module, xact, seq, event, attempts, deliveries
"""

# One whose process died or fell silent while it was delivered: nobody knows whether it was handled, a person decides.
EXPIRE_DELIVERING = """
    UPDATE highway.dead_letter SET state = 'dead', lease_until = NULL, last_failed_at = now(), attempts = attempts + 1,
        error = 'Its consumer fell silent while it handled it; whether it was handled is not known.', traceback = ''
    WHERE state = 'delivering' AND group_name = $1 AND lease_until < now()
"""

# Only for the delivery that is meant: the letter may have been requeued again since.
DELIVERED = """
    UPDATE highway.dead_letter SET state = 'delivered', lease_until = NULL
    WHERE id = $1 AND deliveries = $2 AND state IN ('delivering', 'dead')
"""

DIED_AGAIN = """
    UPDATE highway.dead_letter SET state = 'dead', lease_until = NULL, attempts = attempts + 1, error = $3,
        traceback = $4, last_failed_at = $5
    WHERE id = $1 AND deliveries = $2 AND state = 'delivering'
"""

# What comes next for a projection, in the order of positions over all modules; settled, so nothing can appear between.
NEXT_SETTLED = """
    SELECT xact, seq, id, module, type FROM l1.record
    WHERE (xact, seq) > ($1::xid8, $2::bigint) AND xact < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY xact, seq LIMIT $3
"""

# The envelopes of some records, by id.
ENVELOPES = f"SELECT id, {ENVELOPE_TEXT} FROM l1.record WHERE id = ANY($1::uuid[])"

PROJECTION_SLOTS = "SELECT slot, version, state FROM highway.projection WHERE name = $1"

# Held to the end of the transaction that registers: two processes that start together do so one after the other.
LOCK_PROJECTION = "SELECT pg_advisory_xact_lock(hashtextextended('cos projection ' || $1, 0))"

# A row appears before its tables do: they are made by the transaction that applies the first batch.
ADD_SLOT = """
    INSERT INTO highway.projection (name, slot, version, state, xact, seq, definition, created_at, moved_at)
    VALUES ($1, $2, $3, 'running', '0'::xid8, 0, $4::json, $5, $5)
    ON CONFLICT (name, slot) DO UPDATE SET version = excluded.version, state = 'running', xact = '0'::xid8, seq = 0,
        events = 0, definition = excluded.definition, error = NULL, failed_xact = NULL, failed_seq = NULL,
        created_at = excluded.created_at, moved_at = excluded.moved_at
"""

DESCRIBE_SLOT = "UPDATE highway.projection SET definition = $3::json WHERE name = $1 AND slot = $2"

# Who feeds a slot. An advisory lock, because locking the row would give the transaction an id: the relay then had to
# wait for it (no writing transaction may be overtaken) while it only reads its batch.
TRY_SLOT = "SELECT pg_try_advisory_xact_lock(hashtextextended('cos slot ' || $1 || ' ' || $2, 0))"
WAIT_FOR_SLOT = "SELECT pg_advisory_xact_lock(hashtextextended('cos slot ' || $1 || ' ' || $2, 0))"

READ_SLOT = "SELECT version, state, xact, seq FROM highway.projection WHERE name = $1 AND slot = $2"

# The cursor moves only from where the batch began, and only while the slot is fed: whatever else has happened to the
# row meanwhile, this changes nothing, and the transaction with the projection's writes is given up.
MOVE_SLOT = """
    UPDATE highway.projection SET xact = $3::xid8, seq = $4, events = events + $5, moved_at = $6, error = NULL,
        failed_xact = NULL, failed_seq = NULL
    WHERE name = $1 AND slot = $2 AND version = $7 AND state = 'running' AND xact = $8::xid8 AND seq = $9
    RETURNING 1
"""

FAIL_SLOT = """
    UPDATE highway.projection SET state = 'failed', error = $3, failed_xact = $4::xid8, failed_seq = $5
    WHERE name = $1 AND slot = $2 AND state = 'running'
"""

DROP_LIVE_SLOT = "DELETE FROM highway.projection WHERE name = $1 AND slot = 'live'"
PROMOTE_SLOT = "UPDATE highway.projection SET slot = 'live' WHERE name = $1 AND slot = 'next'"

# A requeued letter of a projection: taken, applied and delivered in one transaction, so its effect comes exactly once.
TAKE_QUEUED_LOCKED = """
    SELECT id, event, attempts, deliveries FROM highway.dead_letter WHERE state = 'queued' AND group_name = $1
    ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
"""

DELIVERED_LOCKED = """
    UPDATE highway.dead_letter SET state = 'delivered', deliveries = deliveries + 1 WHERE id = $1
"""

DIED_LOCKED = """
    UPDATE highway.dead_letter SET state = 'dead', deliveries = deliveries + 1, attempts = attempts + 1, error = $2,
        traceback = $3, last_failed_at = $4
    WHERE id = $1 AND state = 'queued'
"""

# The least place of the groups that read a module; a group without one there stands where it began, or at the start.
LEAST_PLACE = """
    SELECT COALESCE(p.xact, CASE WHEN g.generation = $2 THEN g.xact END, '0'::xid8) AS xact,
           COALESCE(p.seq, CASE WHEN g.generation = $2 THEN g.seq END, 0) AS seq
    FROM highway.consumer_group AS g
    LEFT JOIN highway.group_position AS p ON p.group_name = g.name AND p.generation = $2 AND p.module = $1
    WHERE COALESCE(jsonb_typeof(g.definition::jsonb->'modules'), 'null') = 'null'
        OR g.definition::jsonb->'modules' @> to_jsonb($1::text)
    ORDER BY 1, 2 LIMIT 1
"""

# For a search by halves: positions and times rise together, near enough for who asks how old something is.
RECORDED_AFTER = """
    SELECT xact, seq, recorded_at FROM l1.record
    WHERE module = $1 AND (xact, seq) > ($2::xid8, $3::bigint)
    ORDER BY xact, seq LIMIT 1
"""

LAST_OLD = "SELECT max(seq) FROM l1.record WHERE module = $1 AND xact = $2::xid8 AND recorded_at < $3"
