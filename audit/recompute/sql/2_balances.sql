-- Balances: what the events of each member booked (read model: balances), and its points at the instant judged_at.

CREATE TABLE postings AS
SELECT journal, position, member, 0 AS held, -repaid AS arrears, points AS earned, 0 AS spent, 0 AS expired,
    0 AS forfeited, 0 AS clawed_back, 0 AS adjusted, 0 AS transferred, 0 AS merged, 0 AS written_off
FROM accruals
UNION ALL
SELECT journal, position, member,
    CASE topic WHEN 'points-held.v1' THEN said.points WHEN 'hold-captured.v1' THEN -said.points
        WHEN 'hold-released.v1' THEN -said.points ELSE 0 END AS held,
    CASE
        WHEN topic = 'points-clawed-back.v1' THEN coalesce(said.arrears, 0)
        WHEN topic IN ('points-adjusted.v1', 'points-transferred-in.v1') THEN -coalesce(said.repaid, 0)
        WHEN topic IN ('member-closed.v1', 'member-erased.v1') THEN -coalesce(said.arrears_written_off, 0)
        WHEN said.side = 'in' THEN coalesce(said.arrears, 0)
        WHEN said.side = 'out' THEN -coalesce(said.arrears, 0)
        ELSE 0 END AS arrears,
    0 AS earned,
    CASE topic WHEN 'points-redeemed.v1' THEN said.points WHEN 'hold-captured.v1' THEN said.points
        WHEN 'redemption-reversed.v1' THEN -said.points ELSE 0 END AS spent,
    CASE topic WHEN 'points-expired.v1' THEN said.points
        WHEN 'redemption-reversed.v1' THEN coalesce(forfeited.points, 0) ELSE 0 END AS expired,
    CASE WHEN topic IN ('member-closed.v1', 'member-erased.v1') THEN coalesce(forfeited.points, 0) ELSE 0 END
        AS forfeited,
    CASE WHEN topic = 'points-clawed-back.v1' THEN said.due - coalesce(said.waived, 0) ELSE 0 END AS clawed_back,
    CASE WHEN topic = 'points-adjusted.v1' THEN said.points ELSE 0 END AS adjusted,
    CASE topic WHEN 'points-transferred-in.v1' THEN said.points WHEN 'points-transferred-out.v1' THEN -said.points
        ELSE 0 END AS transferred,
    CASE said.side WHEN 'in' THEN coalesce(arrived.points, 0) - coalesce(said.arrears, 0)
        WHEN 'out' THEN coalesce(said.arrears, 0) - coalesce(arrived.points, 0) ELSE 0 END AS merged,
    CASE WHEN topic IN ('member-closed.v1', 'member-erased.v1') THEN coalesce(said.arrears_written_off, 0) ELSE 0 END
        AS written_off
FROM movements
LEFT JOIN (
    SELECT journal, position, sum(part.points) AS points
    FROM (SELECT journal, position, explode(said.forfeited) AS part FROM movements) AS parts
    GROUP BY journal, position
) AS forfeited USING (journal, position)
LEFT JOIN (
    SELECT journal, position, sum(part.points) AS points
    FROM (SELECT journal, position, explode(said.lots) AS part FROM movements WHERE said.side IS NOT NULL) AS parts
    GROUP BY journal, position
) AS arrived USING (journal, position)
WHERE topic <> 'points-accrued.v1';

CREATE TABLE status_changes AS
SELECT journal, position, member, CASE topic WHEN 'member-closed.v1' THEN 'closed'
    WHEN 'member-erased.v1' THEN 'erased' ELSE 'open' END AS status
FROM events WHERE topic IN ('member-enrolled.v1', 'member-closed.v1', 'member-erased.v1')
UNION ALL
SELECT journal, position, member, CASE topic WHEN 'members-merged.v1' THEN 'merged' ELSE 'open' END
FROM movements
WHERE (topic = 'members-merged.v1' AND said.side = 'out') OR (topic = 'merge-undone.v1' AND said.side = 'in');

CREATE TEMPORARY VIEW statuses AS
SELECT journal, member, max_by(status, position) AS status FROM status_changes GROUP BY journal, member;

CREATE TABLE recomputed_balances AS
SELECT seen.journal, seen.member, coalesce(status, 'unknown') AS status, seen.version, seen.position,
    coalesce(layers.points, 0) AS open, coalesce(held, 0) AS held, coalesce(arrears, 0) AS arrears,
    coalesce(earned, 0) AS earned, coalesce(spent, 0) AS spent, coalesce(expired, 0) AS expired,
    coalesce(forfeited, 0) AS forfeited, coalesce(clawed_back, 0) AS clawed_back, coalesce(adjusted, 0) AS adjusted,
    coalesce(transferred, 0) AS transferred, coalesce(merged, 0) AS merged, coalesce(written_off, 0) AS written_off
FROM (
    SELECT journal, member, count(*) AS version, max(position) AS position
    FROM events WHERE member IS NOT NULL GROUP BY journal, member
) AS seen
LEFT JOIN statuses ON statuses.journal = seen.journal AND statuses.member = seen.member
LEFT JOIN (
    SELECT journal, member, CAST(sum(held) AS BIGINT) AS held, CAST(sum(arrears) AS BIGINT) AS arrears,
        CAST(sum(earned) AS BIGINT) AS earned, CAST(sum(spent) AS BIGINT) AS spent,
        CAST(sum(expired) AS BIGINT) AS expired, CAST(sum(forfeited) AS BIGINT) AS forfeited,
        CAST(sum(clawed_back) AS BIGINT) AS clawed_back, CAST(sum(adjusted) AS BIGINT) AS adjusted,
        CAST(sum(transferred) AS BIGINT) AS transferred, CAST(sum(merged) AS BIGINT) AS merged,
        CAST(sum(written_off) AS BIGINT) AS written_off
    FROM postings GROUP BY journal, member
) AS booked ON booked.journal = seen.journal AND booked.member = seen.member
LEFT JOIN (
    SELECT journal, member, CAST(sum(points) AS BIGINT) AS points FROM open_layers GROUP BY journal, member
) AS layers ON layers.journal = seen.journal AND layers.member = seen.member;

-- A layer is pending until it is available, then active until it expires.
CREATE TABLE recomputed_points AS
SELECT balances.journal, balances.member, coalesce(active, 0) AS active, coalesce(pending, 0) AS pending,
    held, spent, expired + coalesce(overdue, 0) AS expired, arrears
FROM recomputed_balances AS balances
LEFT JOIN (
    SELECT journal, member,
        CAST(sum(CASE WHEN available_at <= judged_at AND judged_at < expires_at THEN points ELSE 0 END) AS BIGINT)
            AS active,
        CAST(sum(CASE WHEN judged_at < available_at AND judged_at < expires_at THEN points ELSE 0 END) AS BIGINT)
            AS pending,
        CAST(sum(CASE WHEN expires_at <= judged_at THEN points ELSE 0 END) AS BIGINT) AS overdue
    FROM open_layers CROSS JOIN parameters GROUP BY journal, member
) AS layers ON layers.journal = balances.journal AND layers.member = balances.member;
