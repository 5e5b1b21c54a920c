"""The statements that matter, named, each with why it is right."""

# ruff: noqa: S608  (put together from the constants of this file, never from a value)

from __future__ import annotations

_COLUMNS = """id, module, type, subject, level, data, request_id, trace_id, traceparent, time, recorded_at,
    idempotency_key"""

# One record in the caller's transaction. DO NOTHING covers both the id (a retry of ours) and the idempotency key (a
# retry of the caller's); a conflicting key that is not committed yet is waited for.
INSERT_ONE = f"""
    INSERT INTO l1.record ({_COLUMNS})
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
    ON CONFLICT DO NOTHING
    RETURNING xact, seq
"""

# Many records as one statement, so that one commit carries all; as one JSON argument, which costs the client a third of
# what twelve arrays cost. Only the data comes in an array of its own: taken out of that JSON, a null would become a
# NULL, and text would be written anew instead of being kept to the byte. Function scans give their rows in the
# arguments' order and the identity is drawn in that order: seq follows the order of the records.
INSERT_MANY = f"""
    INSERT INTO l1.record ({_COLUMNS})
    SELECT {_COLUMNS}
    FROM ROWS FROM (
        json_to_recordset($1::json) AS (
            id uuid, module text, type text, subject text, level text, request_id text, trace_id text,
            traceparent text, time timestamptz, recorded_at timestamptz, idempotency_key text
        ),
        unnest($2::json[])
    ) AS a (
        id, module, type, subject, level, request_id, trace_id, traceparent, time, recorded_at, idempotency_key, data
    )
    ON CONFLICT DO NOTHING
    RETURNING id, xact, seq
"""

# Prompt traces of records of the same transaction; a record that was there before keeps the trace it has.
INSERT_PROMPTS = """
    INSERT INTO l1.prompt_trace (id, record_id, prompt, response, model, latency_ms, tokens_in, tokens_out)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::int[], $7::int[], $8::int[])
    ON CONFLICT DO NOTHING
"""

# What an insert that did nothing ran into: the record with that id, or with that idempotency key.
FIND_EXISTING = """
    SELECT r.id, r.xact, r.seq, r.idempotency_key, p.id AS prompt_id
    FROM l1.record AS r LEFT JOIN l1.prompt_trace AS p ON p.record_id = r.id
    WHERE r.id = ANY($1::uuid[]) OR r.idempotency_key = ANY($2::text[])
"""

# The lock is taken before this transaction has an id, so the id it gets is above that of every transaction that held
# the lock before: positions follow the order of commits for this subject. Says whether it was too late for that.
LOCK_SUBJECT = """
    SELECT pg_current_xact_id_if_assigned() IS NOT NULL AS too_late,
           pg_advisory_xact_lock(hashtextextended($1, 7242))
"""

# The event's envelope as JSON text, the same as `messages.Envelope` writes: put together by Postgres, it costs the
# relay a third of what it costs to read fourteen columns and to write them anew. What the log allows in a module, type,
# level or id needs no escaping; the time ends in +00:00, because each of our sessions is in UTC, and is written with Z.
ENVELOPE_TEXT = """'{"specversion":"1.0","id":"' || id::text
    || '","source":"/cos/' || module
    || '","type":"' || type
    || '","time":' || left(to_json(time)::text, -7) || 'Z"'
    || COALESCE(',"subject":' || to_json(subject)::text, '')
    || ',"datacontenttype":"application/json","data":' || data::text
    || ',"module":"' || module
    || '","level":"' || level
    || '","position":"' || xact::text || '-' || seq::text
    || '","recordedtime":' || left(to_json(recorded_at)::text, -7) || 'Z"'
    || COALESCE(',"requestid":' || to_json(request_id)::text, '')
    || COALESCE(',"traceid":' || to_json(trace_id)::text, '')
    || COALESCE(',"traceparent":' || to_json(traceparent)::text, '')
    || COALESCE(',"idempotencykey":' || to_json(idempotency_key)::text, '')
    || '}'"""

# For the relay's connection, whose reads all have their index. Its plans are kept as long as it is connected: one made
# while the log was young would otherwise go on reading the whole table when it has grown.
BY_INDEX_ONLY = "SET enable_seqscan = off; SET enable_bitmapscan = off"

# The relay's read. Every transaction below the snapshot's xmin has ended, so nothing can appear behind the cursor.
# The running size bounds the memory of a batch; a single record larger than the bound still comes alone. First the
# stored size, which costs nothing to know; among those rows the real one, because what is stored may be compressed
# some 90 times, and only then is it worth to unpack.
READ_SETTLED = f"""
    SELECT xact, seq, module, {ENVELOPE_TEXT} AS envelope, type, subject FROM (
        SELECT *, sum(CASE WHEN pg_column_compression(data) IS NULL THEN pg_column_size(data)
                           ELSE octet_length(data::text) END) OVER preceding AS bytes_before
        FROM (
            SELECT *, sum(pg_column_size(data)) OVER preceding AS stored_before
            FROM (
                SELECT * FROM l1.record
                WHERE (xact, seq) > ($1::xid8, $2::bigint) AND xact < pg_snapshot_xmin(pg_current_snapshot())
                ORDER BY xact, seq
                LIMIT $3
            ) AS rows
            WINDOW preceding AS (ORDER BY xact, seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
        ) AS stored
        WHERE COALESCE(stored_before, 0) < $4
        WINDOW preceding AS (ORDER BY xact, seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
    ) AS sized
    WHERE COALESCE(bytes_before, 0) < $4
    ORDER BY xact, seq
"""

# Whether a committed record waits behind the horizon, because an older transaction is still open.
WAITS_BEHIND_HORIZON = """
    SELECT EXISTS (SELECT 1 FROM l1.record WHERE (xact, seq) > ($1::xid8, $2::bigint))
"""

# The modules that have records, by skipping from one to the next in the index: its cost is the number of modules.
MODULES = """
    WITH RECURSIVE m AS (
        (SELECT module FROM l1.record ORDER BY module LIMIT 1)
        UNION ALL
        SELECT (SELECT r.module FROM l1.record AS r WHERE r.module > m.module ORDER BY r.module LIMIT 1)
        FROM m WHERE m.module IS NOT NULL
    )
    SELECT module FROM m WHERE module IS NOT NULL
"""

RECORD_AT = "SELECT id FROM l1.record WHERE xact = $1::xid8 AND seq = $2 AND module = $3"

# The first settled record of a module that its stream lacks. One that is committed and not settled says nothing about
# where to begin: what an older open transaction has written may still come before it.
FIRST_SETTLED_AFTER = """
    SELECT xact, seq FROM l1.record
    WHERE module = $1 AND (xact, seq) > ($2::xid8, $3::bigint) AND xact < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY xact, seq LIMIT 1
"""

# What a module's stream lacks, for the lag: committed records after its top, counted up to a bound.
LAG_AFTER = """
    SELECT count(*) AS events, min(recorded_at) AS oldest FROM (
        SELECT recorded_at FROM l1.record
        WHERE module = $1 AND (xact, seq) > ($2::xid8, $3::bigint)
        ORDER BY xact, seq LIMIT $4
    ) AS behind
"""

# Which database this is: another cluster, or another database of the cluster, has other transaction ids.
DATABASE_IDENTITY = """
    SELECT (SELECT system_identifier FROM pg_control_system())::text || '/' || oid::text
    FROM pg_database WHERE datname = current_database()
"""

CURRENT_GENERATION = "SELECT number, database FROM l1.generation ORDER BY number DESC LIMIT 1"

BEGIN_GENERATION = """
    INSERT INTO l1.generation (number, database, reason, began_at) VALUES ($1, $2, $3, $4)
"""

# Records whose transaction id this cluster has not reached: a dump restored into a younger cluster.
FROM_THE_FUTURE = """
    SELECT EXISTS (SELECT 1 FROM l1.record WHERE xact >= pg_snapshot_xmax(pg_current_snapshot()))
"""

# How many records settled after a position, up to which one, and how many stand behind the horizon: who keeps the sum
# never counts the whole log twice. Nothing can appear below what has settled, so nothing is counted twice or missed.
COUNT_AFTER = """
    WITH horizon AS (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS bound),
    last AS (
        SELECT xact, seq FROM l1.record, horizon WHERE xact < bound ORDER BY xact DESC, seq DESC LIMIT 1
    )
    SELECT last.xact, last.seq,
           (SELECT count(*) FROM l1.record AS r
            WHERE (r.xact, r.seq) > ($1::xid8, $2::bigint) AND (r.xact, r.seq) <= (last.xact, last.seq)) AS settled,
           (SELECT count(*) FROM l1.record AS r WHERE r.xact >= horizon.bound) AS waiting
    FROM horizon LEFT JOIN last ON true
"""

# Who holds the horizon back: the oldest transaction of the cluster that has written, in any of its databases.
HOLDS_HORIZON = """
    SELECT pid, application_name, usename, datname, state,
           extract(epoch FROM clock_timestamp() - xact_start)::float8 AS open_seconds, 'session' AS kind
    FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()
    UNION ALL
    SELECT NULL, gid, owner, database, 'prepared', extract(epoch FROM clock_timestamp() - prepared)::float8, 'prepared'
    FROM pg_prepared_xacts
    ORDER BY open_seconds DESC NULLS LAST LIMIT 1
"""

# The dead letters that wait for somebody, by group; reads the part of the index that holds them.
DEAD_LETTERS = """
    SELECT group_name, count(*)::int AS size, min(first_failed_at) AS oldest, max(last_failed_at) AS newest
    FROM highway.dead_letter WHERE state = 'dead' GROUP BY group_name ORDER BY group_name
"""

# What the log takes on disk, its indexes and large values included, and the whole database.
SIZES = "SELECT pg_total_relation_size('l1.record') AS log_bytes, pg_database_size(current_database()) AS all_bytes"

# Each ordinary table of the database but Postgres's own, with the bytes of its rows, indexes left out: what a backup
# holds. The quoting is Postgres's own, for who counts the rows.
ALL_TABLES = """
    SELECT n.nspname || '.' || c.relname AS name, format('%I.%I', n.nspname, c.relname) AS quoted,
           pg_table_size(c.oid) AS bytes
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
    ORDER BY 1
"""

# The first transaction id that no row of this snapshot can have.
NEXT_TRANSACTION = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"

# The server's processes of our sessions that are called so.
BACKENDS_NAMED = (
    "SELECT pid FROM pg_stat_activity WHERE application_name = $1 AND backend_type = 'client backend'"
)

# The whole log for an export, or one module of it, in the order of positions, with all that each record carries. Both
# forms have their index: a scan of the log sorted in memory would not fit there.
_EXPORTED = """
    SELECT r.id, r.type, r.module, r.level, r.time, r.recorded_at, r.subject, r.request_id, r.trace_id, r.traceparent,
           r.idempotency_key, r.data, p.id AS prompt_id, p.prompt, p.response, p.model, p.latency_ms, p.tokens_in,
           p.tokens_out
    FROM l1.record AS r LEFT JOIN l1.prompt_trace AS p ON p.record_id = r.id
"""
EXPORT = f"{_EXPORTED} ORDER BY r.xact, r.seq"
EXPORT_MODULE = f"{_EXPORTED} WHERE r.module = $1 ORDER BY r.xact, r.seq"

# The highest transaction id that a record has and this cluster has not reached; NULL when there is none. One step into
# the index of positions.
HIGHEST_OF_THE_FUTURE = """
    SELECT xact::text::bigint FROM l1.record WHERE xact >= pg_snapshot_xmax(pg_current_snapshot())
    ORDER BY xact DESC, seq DESC LIMIT 1
"""

# The last position below the horizon: one step into the index.
SETTLED_TOP = """
    SELECT xact, seq FROM l1.record WHERE xact < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY xact DESC, seq DESC LIMIT 1
"""
