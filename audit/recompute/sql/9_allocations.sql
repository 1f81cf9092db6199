-- Which layers pay: for every event that takes points, the layers that the rules take at its instant, in their order,
-- from what the layers held before it; and what it says it took from each.

CREATE TABLE takings AS
SELECT journal, position, member, occurred_at, topic, abs(said.points) AS due, CAST(NULL AS STRING) AS lot,
    CASE topic WHEN 'points-expired.v1' THEN 'expired' ELSE 'available' END AS policy
FROM movements
WHERE topic IN ('points-redeemed.v1', 'points-held.v1', 'points-transferred-out.v1', 'points-expired.v1')
    OR (topic = 'points-adjusted.v1' AND said.points < 0)
UNION ALL
SELECT clawbacks.journal, clawbacks.position, clawbacks.member, clawbacks.occurred_at, 'points-clawed-back.v1',
    clawbacks.due, max(claims.lot), clawbacks.policy
FROM clawbacks
LEFT JOIN return_claims AS claims ON claims.journal = clawbacks.journal AND claims.member = clawbacks.member
    AND claims.purchase = clawbacks.purchase AND claims.purchase_source = clawbacks.purchase_source
GROUP BY clawbacks.journal, clawbacks.position, clawbacks.member, clawbacks.occurred_at, clawbacks.due,
    clawbacks.policy
UNION ALL
SELECT journal, position, member, occurred_at, topic, NULL, NULL, 'everything'
FROM movements
WHERE topic IN ('member-closed.v1', 'member-erased.v1') OR (topic = 'members-merged.v1' AND said.side = 'out');

-- The layers that an event may take from: first those of rank 1, then 2, then 3; in each in the order of spending.
CREATE TEMPORARY VIEW eligible_layers AS
SELECT takings.journal, takings.position, takings.due, takings.policy, layers.lot, layers.available_at,
    layers.expires_at, layers.points, CASE
        WHEN takings.policy = 'everything' THEN 1
        WHEN takings.policy = 'expired' THEN
            CASE WHEN layers.expires_at <= occurred_at AND layers.opened_at <= occurred_at THEN 1 END
        WHEN layers.expires_at <= occurred_at THEN NULL
        WHEN takings.policy = 'available' THEN CASE WHEN layers.available_at <= occurred_at THEN 1 END
        WHEN layers.opened_at > occurred_at THEN NULL
        WHEN takings.policy = 'only_pending' THEN CASE
            WHEN layers.available_at > occurred_at AND coalesce(layers.lot = takings.lot, takings.lot IS NULL) THEN 1 END
        WHEN layers.lot = takings.lot THEN 1
        WHEN layers.available_at <= occurred_at THEN 2
        ELSE 3 END AS place
FROM takings
JOIN layer_history AS layers ON layers.journal = takings.journal AND layers.member = takings.member
    AND layers.position < takings.position AND (layers.until IS NULL OR layers.until >= takings.position)
    AND layers.points > 0;

CREATE TABLE expected_allocations AS
SELECT journal, position, lot, available_at, expires_at, CAST(CASE
    WHEN policy IN ('everything', 'expired') THEN points
    ELSE least(points, greatest(0, due - before)) END AS BIGINT) AS points
FROM (
    SELECT *, coalesce(sum(points) OVER (
        PARTITION BY journal, position ORDER BY place, expires_at, available_at, lot
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
    FROM eligible_layers WHERE place IS NOT NULL
) AS ranked;

CREATE TABLE found_in_allocations AS
SELECT 'allocation' AS finding, takings.journal, takings.position, takings.member,
    concat('points taken from the layer of ', compared.lot, ' available at ', CAST(compared.available_at AS STRING))
        AS what,
    CAST(compared.expected AS STRING) AS expected, CAST(compared.recorded AS STRING) AS recorded
FROM (
    SELECT journal, position, lot, available_at, expires_at, sum(expected) AS expected, sum(recorded) AS recorded
    FROM (
        SELECT journal, position, lot, available_at, expires_at, points AS expected, 0 AS recorded
        FROM expected_allocations
        UNION ALL
        SELECT changes.journal, changes.position, changes.lot, changes.available_at, changes.expires_at, 0, -changes.points
        FROM layer_changes AS changes
        JOIN takings ON takings.journal = changes.journal AND takings.position = changes.position
    ) AS sides
    GROUP BY journal, position, lot, available_at, expires_at
) AS compared
JOIN takings ON takings.journal = compared.journal AND takings.position = compared.position
WHERE compared.expected <> compared.recorded
UNION ALL
SELECT 'allocation', clawbacks.journal, clawbacks.position, clawbacks.member,
    'points that layers do not cover, owed or waived',
    CASE WHEN clawbacks.policy = 'arrears' THEN concat(CAST(due - taken AS STRING), ' owed, 0 waived')
        ELSE concat('0 owed, ', CAST(due - taken AS STRING), ' waived') END,
    concat(CAST(arrears AS STRING), ' owed, ', CAST(waived AS STRING), ' waived')
FROM (
    SELECT clawbacks.*, coalesce(expected.points, 0) AS taken
    FROM clawbacks LEFT JOIN (
        SELECT journal, position, sum(points) AS points FROM expected_allocations GROUP BY journal, position
    ) AS expected ON expected.journal = clawbacks.journal AND expected.position = clawbacks.position
) AS clawbacks
WHERE CASE WHEN clawbacks.policy = 'arrears' THEN arrears ELSE waived END <> due - taken OR arrears + waived <> due - taken
UNION ALL
SELECT 'clawback', clawbacks.journal, clawbacks.position, clawbacks.member, 'policy of the terms', terms.policy,
    clawbacks.policy
FROM clawbacks
JOIN (SELECT DISTINCT journal, programme FROM events) AS journals ON journals.journal = clawbacks.journal
JOIN terms ON terms.programme = journals.programme AND terms.version = clawbacks.terms
WHERE terms.policy <> clawbacks.policy;

-- Arrears are repaid by what comes in at or after the instant since when they are owed, and by no more than it.
CREATE TEMPORARY VIEW arrears_sums AS
SELECT *, sum(change) OVER (PARTITION BY journal, member ORDER BY position ROWS UNBOUNDED PRECEDING) AS owed
FROM (
    SELECT postings.journal, postings.position, postings.member, arrears AS change, events.occurred_at
    FROM postings JOIN events ON events.journal = postings.journal AND events.position = postings.position
    WHERE arrears <> 0
) AS changes;

CREATE TABLE arrears_history AS
SELECT journal, member, position, owed, lead(position) OVER (PARTITION BY journal, member ORDER BY position) AS until,
    max(CASE WHEN change > 0 THEN occurred_at END) OVER (
        PARTITION BY journal, member, life ORDER BY position ROWS UNBOUNDED PRECEDING) AS since
FROM (
    SELECT *, sum(CASE WHEN owed = 0 THEN 1 ELSE 0 END) OVER (
        PARTITION BY journal, member ORDER BY position ROWS UNBOUNDED PRECEDING)
        - CASE WHEN owed = 0 THEN 1 ELSE 0 END AS life
    FROM arrears_sums
) AS lives;

CREATE TABLE found_in_arrears AS
SELECT 'arrears' AS finding, incoming.journal, incoming.position, incoming.member, 'points that repay arrears' AS what,
    CAST(expected AS STRING) AS expected, CAST(repaid AS STRING) AS recorded
FROM (
    SELECT incoming.*, CASE WHEN arrears.since <= incoming.occurred_at THEN least(points, owed) ELSE 0 END AS expected
    FROM (
        SELECT journal, position, member, occurred_at, points, repaid FROM accruals
        UNION ALL
        SELECT journal, position, member, occurred_at, said.points, coalesce(said.repaid, 0)
        FROM movements WHERE topic IN ('points-adjusted.v1', 'points-transferred-in.v1') AND said.points > 0
    ) AS incoming
    LEFT JOIN arrears_history AS arrears ON arrears.journal = incoming.journal AND arrears.member = incoming.member
        AND arrears.position < incoming.position AND (arrears.until IS NULL OR arrears.until >= incoming.position)
) AS incoming
WHERE expected <> repaid;

-- What leaves one member arrives at another: both sides of a transfer, of a merge and of its undoing are of one command.
CREATE TABLE found_in_pairs AS
SELECT 'pair' AS finding, journal, position, member,
    'points that leave one member less those that arrive at the other' AS what, '0' AS expected,
    CAST(-total AS STRING) AS recorded
FROM (
    SELECT postings.journal, postings.position, postings.member, sum(transferred + merged) OVER (
        PARTITION BY events.programme, events.source, events.id) AS total
    FROM postings JOIN events ON events.journal = postings.journal AND events.position = postings.position
    WHERE transferred <> 0 OR merged <> 0
) AS sides
WHERE total <> 0;
