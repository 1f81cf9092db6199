-- Layers through time: what each layer held after each event that changed it, until the next one that did.
-- Points that come to a layer that is there make it as young as they are (opened_at); a spent layer is forgotten.

CREATE TEMPORARY VIEW layer_sums AS
SELECT *, sum(change) OVER (
    PARTITION BY journal, member, lot, available_at, expires_at ORDER BY position ROWS UNBOUNDED PRECEDING) AS points
FROM (
    SELECT journal, member, lot, available_at, expires_at, position, sum(points) AS change, max(opened_at) AS opened_at
    FROM layer_changes GROUP BY journal, member, lot, available_at, expires_at, position
) AS changes;

CREATE TEMPORARY VIEW layer_lives AS
SELECT *,
    sum(CASE WHEN points = 0 THEN 1 ELSE 0 END) OVER (
        PARTITION BY journal, member, lot, available_at, expires_at ORDER BY position ROWS UNBOUNDED PRECEDING)
    - CASE WHEN points = 0 THEN 1 ELSE 0 END AS life
FROM layer_sums;

CREATE TABLE layer_history AS
SELECT journal, member, lot, available_at, expires_at, position, CAST(points AS BIGINT) AS points,
    max(opened_at) OVER (
        PARTITION BY journal, member, lot, available_at, expires_at, life ORDER BY position ROWS UNBOUNDED PRECEDING)
        AS opened_at,
    lead(position) OVER (PARTITION BY journal, member, lot, available_at, expires_at ORDER BY position) AS until
FROM layer_lives;

CREATE TABLE recomputed_lots AS
SELECT journal, member, lot, available_at, expires_at, opened_at, points
FROM layer_history WHERE until IS NULL AND points <> 0;
