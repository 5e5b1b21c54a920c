"""The statements of who follows the log from a position: the live feed and the webhooks; each with why it is right."""

# ruff: noqa: S608  (put together from the constants of this file, never from a value)

from __future__ import annotations

from cos.memory.sql import ENVELOPE_TEXT

# The last position below the horizon, and the record there: everything up to it can be read and nothing can appear
# below it any more.
SETTLED_TOP = """
    SELECT xact, seq, id FROM l1.record WHERE xact < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY xact DESC, seq DESC LIMIT 1
"""

RECORD_AT = "SELECT id FROM l1.record WHERE xact = $1::xid8 AND seq = $2"

# Whether a transaction id is one that this cluster has given out: a position above is one of another database.
IS_REACHED = "SELECT $1::xid8 < pg_snapshot_xmax(pg_current_snapshot())"

# The next window of the log after a position, settled, in order; what is not wanted comes with no size, so that a
# filter that matches nothing still moves on, in steps whose cost is known. The size is the one that the data will have
# when it is read: what is stored may be compressed. The last column says up to where the log was complete when this
# was read, in the same snapshot: a window that is not full has seen everything up to there.
_WINDOW = """
    SELECT s.xact, s.seq, s.id, s.module, s.type, s.subject,
           CASE WHEN ($4::text[] IS NULL OR s.type = ANY($4) OR s.type ^@ ANY($5::text[]))
                 AND ($6::text[] IS NULL OR s.subject = ANY($6))
                THEN CASE WHEN pg_column_compression(s.data) IS NULL THEN pg_column_size(s.data)
                          ELSE octet_length(s.data::text) END
           END AS bytes,
           top.xact AS top_xact, top.seq AS top_seq
    FROM (
        SELECT xact, seq FROM l1.record WHERE xact < pg_snapshot_xmin(pg_current_snapshot())
        ORDER BY xact DESC, seq DESC LIMIT 1
    ) AS top
    LEFT JOIN ({rows}) AS s ON true
    ORDER BY s.xact, s.seq
"""
_COLUMNS = "xact, seq, id, module, type, subject, data"
_AFTER = """(xact, seq) > ($1::xid8, $2::bigint) AND xact < pg_snapshot_xmin(pg_current_snapshot())
        ORDER BY xact, seq LIMIT $3"""
WINDOW = _WINDOW.format(rows=f"SELECT {_COLUMNS} FROM l1.record WHERE {_AFTER}")

# The same for some modules, each by its own index: a module with few records is not searched for among many.
WINDOW_OF_MODULES = _WINDOW.format(
    rows=f"""
    SELECT r.* FROM unnest($7::text[]) AS m (name) CROSS JOIN LATERAL (
        SELECT {_COLUMNS} FROM l1.record WHERE module = m.name AND {_AFTER}
    ) AS r ORDER BY r.xact, r.seq LIMIT $3
"""
)

# The envelopes of some records, by id.
ENVELOPES = f"SELECT id, {ENVELOPE_TEXT} FROM l1.record WHERE id = ANY($1::uuid[])"
