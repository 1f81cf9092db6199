-- Layers: every change of a layer of points, and the layers that are open (read model: lots).
-- A layer is what of a lot became available at one instant; points that never expire do so in 9999.

-- Every event that moves points, with the fields of all of them.
CREATE TABLE movements AS
SELECT journal, position, member, occurred_at, source, id, topic, said FROM said_movements;

CREATE TEMPORARY VIEW accruals AS
SELECT journal, position, member, occurred_at, said.lot AS lot, said.points AS points,
    coalesce(said.repaid, 0) AS repaid, instant(said.available_at) AS available_at,
    coalesce(instant(said.expires_at), TIMESTAMP '9999-12-31 00:00:00') AS expires_at
FROM movements WHERE topic = 'points-accrued.v1';

-- Points taken from layers.
CREATE TEMPORARY VIEW taken AS
SELECT journal, position, member, occurred_at, explode(CASE
    WHEN topic IN ('member-closed.v1', 'member-erased.v1') THEN said.forfeited
    ELSE said.allocations END) AS part
FROM movements
WHERE topic IN ('points-redeemed.v1', 'points-held.v1', 'points-expired.v1', 'points-clawed-back.v1',
    'points-transferred-out.v1', 'member-closed.v1', 'member-erased.v1')
    OR (topic = 'points-adjusted.v1' AND said.points < 0);

-- Points given back: they come at the instant of the event, and are available from then on, or later.
CREATE TEMPORARY VIEW given_back AS
SELECT journal, position, member, occurred_at, explode(CASE
    WHEN topic = 'redemption-reversed.v1' THEN said.restored
    ELSE said.allocations END) AS part
FROM movements
WHERE topic IN ('redemption-reversed.v1', 'hold-released.v1');

-- Layers that arrive or leave as they are: transfers in, merges and their undoing.
CREATE TEMPORARY VIEW moved AS
SELECT journal, position, member, occurred_at,
    CASE WHEN said.side = 'out' THEN -1 ELSE 1 END AS direction, explode(said.lots) AS part
FROM movements
WHERE topic IN ('points-transferred-in.v1', 'members-merged.v1', 'merge-undone.v1');

-- Lots that adjustments open.
CREATE TEMPORARY VIEW adjusted AS
SELECT journal, position, member, lot_written(said.lot) AS part
FROM movements WHERE topic = 'points-adjusted.v1' AND said.lot IS NOT NULL;

CREATE TABLE layer_changes AS
SELECT journal, position, member, lot, points - repaid AS points, occurred_at AS opened_at, available_at, expires_at
FROM accruals WHERE points <> repaid
UNION ALL
SELECT journal, position, member, part.lot, -part.points, NULL, instant(part.available_at),
    coalesce(instant(part.expires_at), TIMESTAMP '9999-12-31 00:00:00')
FROM taken
UNION ALL
SELECT journal, position, member, part.lot, part.points, occurred_at,
    greatest(instant(part.available_at), occurred_at),
    coalesce(instant(part.expires_at), TIMESTAMP '9999-12-31 00:00:00')
FROM given_back
UNION ALL
SELECT journal, position, member, part.lot, direction * part.points,
    CASE WHEN direction = 1 THEN instant(part.opened_at) END, instant(part.available_at),
    coalesce(instant(part.expires_at), TIMESTAMP '9999-12-31 00:00:00')
FROM moved
UNION ALL
SELECT journal, position, member, part.lot, part.points, instant(part.opened_at), instant(part.available_at),
    coalesce(instant(part.expires_at), TIMESTAMP '9999-12-31 00:00:00')
FROM adjusted;

CREATE TABLE open_layers AS
SELECT journal, member, lot, available_at, expires_at, CAST(sum(points) AS BIGINT) AS points
FROM layer_changes GROUP BY journal, member, lot, available_at, expires_at
HAVING sum(points) <> 0;
