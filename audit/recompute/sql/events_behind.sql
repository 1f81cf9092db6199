-- Which events a figure comes from: by the key of its row, and by its name where only some events of the row do.

CREATE TEMPORARY VIEW behind_balances AS
SELECT journal, member, name, position
FROM (
    SELECT journal, member, position, held, arrears, earned, spent, expired, forfeited, clawed_back, adjusted,
        transferred, merged, written_off
    FROM postings
) AS booked
UNPIVOT (points FOR name IN (
    held, arrears, earned, spent, expired, forfeited, clawed_back, adjusted, transferred, merged, written_off))
WHERE points <> 0
UNION ALL
SELECT journal, member, 'open', position FROM layer_changes
UNION ALL
SELECT journal, member, 'status', position FROM status_changes
UNION ALL
SELECT journal, member, 'newest', max(position) FROM events WHERE member IS NOT NULL GROUP BY journal, member;

CREATE TEMPORARY VIEW behind_lots AS
SELECT journal, member, lot, available_at, expires_at, 'layer' AS name, position FROM layer_changes;

CREATE TEMPORARY VIEW behind_lifetime AS
SELECT journal, member, name, position
FROM trade
UNPIVOT (number FOR name IN (
    purchases, units, revenue_minor, returns, returned_units, returned_minor, goods_cost_minor, attributed_cost_minor,
    uncosted_lines))
WHERE number <> 0
UNION ALL
SELECT journal, member, 'earned', position FROM postings WHERE earned <> 0
UNION ALL
SELECT journal, member, 'spent', position FROM postings WHERE spent <> 0
UNION ALL
SELECT journal, member, 'status', position FROM status_changes
UNION ALL
SELECT journal, member, 'wallet', position FROM said_wallets;

CREATE TEMPORARY VIEW behind_satisfaction_days AS
SELECT journal, per, value, day, instrument, lowest, highest, 'answers' AS name, position FROM placed_scores;

CREATE TEMPORARY VIEW behind_service_days AS
SELECT journal, per, value, day, name, position
FROM (
    SELECT journal, per, value, day, position, purchases, complaints, resolved, follow_ups, follow_ups_in_time,
        follow_ups_late
    FROM placed_service
) AS counted
UNPIVOT (number FOR name IN (purchases, complaints, resolved, follow_ups, follow_ups_in_time, follow_ups_late))
WHERE number <> 0;
