"""The statements of the webhooks' delivery; each with why it is right."""

from __future__ import annotations

# Takes what nobody serves, and renews what is ours when a third of its time is over. By Postgres's clock, so that
# processes with different clocks agree; a row that another is taking at this moment is left to it.
CLAIM = """
    UPDATE webhook.endpoint SET owner = $1, lease_until = now() + make_interval(secs => $2)
    WHERE id IN (
        SELECT id FROM webhook.endpoint
        WHERE state = 'active' AND (
            owner IS NULL OR lease_until < now()
            OR (owner = $1 AND lease_until < now() + make_interval(secs => $2 * 2 / 3))
        )
        ORDER BY id FOR UPDATE SKIP LOCKED
    )
"""

# What is ours to serve now, with the secrets that sign, newest first, and how long it is ours for sure.
OWNED = """
    SELECT e.*, EXTRACT(EPOCH FROM e.lease_until - now())::float8 AS lease_seconds,
        ARRAY(SELECT s.secret FROM webhook.secret AS s WHERE s.endpoint_id = e.id ORDER BY s.id DESC) AS secrets,
        ARRAY(SELECT s.expires_at FROM webhook.secret AS s WHERE s.endpoint_id = e.id ORDER BY s.id DESC) AS secret_ends
    FROM webhook.endpoint AS e
    WHERE e.owner = $1 AND e.state = 'active' AND e.lease_until > now()
"""

RELEASE = (
    "UPDATE webhook.endpoint SET owner = NULL, lease_until = NULL WHERE owner = $1 AND id = ANY($2::uuid[])"
)

# What filters look at of the records that have settled since a position: one look for all endpoints of a process.
HEADS = """
    SELECT xact, seq, module, type, subject FROM l1.record
    WHERE (xact, seq) > ($1::xid8, $2::bigint) AND xact < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY xact, seq LIMIT $3
"""

# How far some endpoints are, and what was tried, in one commit. Only where the endpoint is still ours and nobody has
# changed it since: then nothing else writes these columns, so whole values may be written over. The place only rises,
# for one event may have been buried since this was put together. A try is kept for whoever looks, if its
# endpoint is still there; one that is deleted at this very moment breaks a foreign key, and all is written anew.
WRITE = """
    WITH moved AS (
        UPDATE webhook.endpoint AS e
        SET xact = CASE WHEN p.xact::xid8 > e.xact THEN p.xact::xid8 ELSE e.xact END,
            seq = CASE WHEN (p.xact::xid8, p.seq) > (e.xact, e.seq) THEN p.seq ELSE e.seq END,
            attempts = p.tries, next_attempt_at = p.next_try_at, failing_since = p.failing_since,
            failures = p.failures, error = p.error, delivered = p.delivered, last_delivered_at = p.last_delivered_at
        FROM unnest($2::uuid[], $3::int[], $4::text[], $5::bigint[], $6::int[], $7::timestamptz[], $8::timestamptz[],
                    $9::int[], $10::text[], $11::bigint[], $12::timestamptz[])
            AS p (id, epoch, xact, seq, tries, next_try_at, failing_since, failures, error, delivered,
                  last_delivered_at)
        WHERE e.id = p.id AND e.owner = $1 AND e.epoch = p.epoch
        RETURNING e.id
    ), tried AS (
        INSERT INTO webhook.attempt (id, endpoint_id, event_id, position, type, attempt, delivered, status, error,
                                     duration_ms, at)
        SELECT a.* FROM unnest($13::uuid[], $14::uuid[], $15::uuid[], $16::text[], $17::text[], $18::int[],
                               $19::boolean[], $20::int[], $21::text[], $22::float8[], $23::timestamptz[])
            AS a (id, endpoint_id, event_id, position, type, attempt, delivered, status, error, duration_ms, at)
        JOIN webhook.endpoint AS here ON here.id = a.endpoint_id
    )
    SELECT id FROM moved
"""

# Keeps the newest attempts of some endpoints.
PRUNE_ATTEMPTS = """
    DELETE FROM webhook.attempt AS a
    USING unnest($1::uuid[]) AS e (id), LATERAL (
        SELECT n.id FROM webhook.attempt AS n WHERE n.endpoint_id = e.id ORDER BY n.id DESC OFFSET $2 LIMIT 1
    ) AS last
    WHERE a.endpoint_id = e.id AND a.id <= last.id
"""

# Whether an endpoint is still ours and unchanged; it stays so to the end of the transaction.
HOLD = "SELECT 1 FROM webhook.endpoint WHERE id = $1 AND owner = $2 AND epoch = $3 FOR UPDATE"

# After its letter was written in the same transaction: both or neither.
BURIED = """
    UPDATE webhook.endpoint SET xact = $2::xid8, seq = $3, attempts = 0, next_attempt_at = NULL, buried = $4,
        failing_since = $5, failures = $6, error = $7
    WHERE id = $1
"""

# Only one that is active, ours and unchanged: a person who paused or changed it meanwhile has decided otherwise.
DISABLE = """
    UPDATE webhook.endpoint SET state = 'disabled', reason = $4, state_since = $5, epoch = epoch + 1,
        attempts = $6, next_attempt_at = NULL, failing_since = $7, failures = $8, error = $9,
        owner = NULL, lease_until = NULL
    WHERE id = $1 AND owner = $2 AND epoch = $3 AND state = 'active'
    RETURNING url
"""

# Which of some groups have letters that somebody asked to be delivered, or whose delivery may have died.
WAITING_LETTERS = """
    SELECT DISTINCT group_name FROM highway.dead_letter
    WHERE state IN ('queued', 'delivering') AND group_name = ANY($1::text[])
"""

# A letter of an endpoint that is gone can be delivered to nobody; it stays, to be looked at or dropped.
ORPHANED_LETTERS = """
    UPDATE highway.dead_letter SET state = 'dead', lease_until = NULL,
        error = 'Its webhook was deleted, so nobody can be given it.', traceback = ''
    WHERE state IN ('queued', 'delivering') AND group_name ^@ 'webhook:'
        AND NOT EXISTS (SELECT 1 FROM webhook.endpoint WHERE 'webhook:' || id::text = group_name)
"""
