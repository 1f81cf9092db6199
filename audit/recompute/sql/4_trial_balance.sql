-- Trial balance: what an event changes in layers, holds and arrears must be what it says that it earned, spent ….

CREATE TEMPORARY VIEW event_postings AS
SELECT postings.*, coalesce(layers.points, 0) AS open
FROM postings
LEFT JOIN (
    SELECT journal, position, sum(points) AS points FROM layer_changes GROUP BY journal, position
) AS layers ON layers.journal = postings.journal AND layers.position = postings.position;

CREATE TABLE recomputed_trial_balance AS
SELECT journal, CAST(sum(open) AS BIGINT) AS open, CAST(sum(held) AS BIGINT) AS held,
    CAST(sum(arrears) AS BIGINT) AS arrears, CAST(sum(earned) AS BIGINT) AS earned,
    CAST(sum(spent) AS BIGINT) AS spent, CAST(sum(expired) AS BIGINT) AS expired,
    CAST(sum(forfeited) AS BIGINT) AS forfeited, CAST(sum(clawed_back) AS BIGINT) AS clawed_back,
    CAST(sum(adjusted) AS BIGINT) AS adjusted, CAST(sum(transferred) AS BIGINT) AS transferred,
    CAST(sum(merged) AS BIGINT) AS merged, CAST(sum(written_off) AS BIGINT) AS written_off,
    CAST(sum(open + held - arrears - earned + spent + expired + forfeited + clawed_back - adjusted - transferred
        - merged - written_off) AS BIGINT) AS difference
FROM event_postings GROUP BY journal;

CREATE TABLE found_in_postings AS
SELECT 'postings' AS finding, journal, position, member, 'postings of the event do not sum to zero' AS what,
    CAST(earned - spent - expired - forfeited - clawed_back + adjusted + transferred + merged + written_off AS STRING)
        AS expected,
    CAST(open + held - arrears AS STRING) AS recorded
FROM event_postings
WHERE (open + held - arrears = earned - spent - expired - forfeited - clawed_back + adjusted + transferred + merged
    + written_off) IS NOT TRUE
UNION ALL
SELECT 'layers', journal, position, member, concat('takes more than the layer ', lot, ' has'), 'at least 0',
    CAST(points AS STRING)
FROM layer_history WHERE points < 0;
