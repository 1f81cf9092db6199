"""Persons: members and those that were merged into them, over all journals of a programme."""

from __future__ import annotations

MERGED_MEMBERS = """
climbing AS (
    SELECT journal, member, survivor AS person FROM lifetime
    WHERE journal = ANY (%(journals)s) AND survivor IS NOT NULL
    UNION  -- not ALL: journals at different positions may show merges that go round in a circle for a moment
    SELECT climbing.journal, climbing.member, above.survivor
    FROM climbing JOIN lifetime above ON above.journal = ANY (%(journals)s) AND above.member = climbing.person
    WHERE above.survivor IS NOT NULL
), merged AS MATERIALIZED (
    SELECT journal, member, person FROM climbing WHERE NOT EXISTS (
        SELECT FROM lifetime above
        WHERE above.journal = ANY (%(journals)s) AND above.member = climbing.person AND above.survivor IS NOT NULL
    )
)"""
"""Common table expressions, for WITH RECURSIVE: `merged` has each merged member and, as `person`, who it is now."""
