-- Points due for returns, on cumulative figures: for each line the weight of what came back so far, of all lines
-- together the share of what the purchase earned; less what was due before.

CREATE TABLE return_claims AS
SELECT matches.journal, matches.position, matches.member, matches.purchase, matches.purchase_source,
    matches.points_due, bought.journal AS purchase_journal, bought.position AS purchase_position, bought.lot,
    coalesce(bought.earned, 0) AS earned,
    row_number() OVER (PARTITION BY bought.journal, bought.position
        ORDER BY events.recorded_at, matches.journal, matches.position) AS sequence
FROM return_matches AS matches
JOIN events ON events.journal = matches.journal AND events.position = matches.position
JOIN (
    SELECT purchases.journal, purchases.position, purchases.programme, purchases.member, purchases.source,
        purchases.id, earnings.points AS earned, earnings.lot, count(*) OVER (
            PARTITION BY purchases.programme, purchases.source, purchases.id) AS namesakes
    FROM purchases LEFT JOIN earnings
        ON earnings.journal = purchases.journal AND earnings.purchase_position = purchases.position
) AS bought ON bought.programme = matches.programme AND bought.source = matches.purchase_source
    AND bought.id = matches.purchase AND (bought.namesakes = 1 OR bought.member = matches.member);

CREATE TEMPORARY VIEW returned_so_far AS
SELECT claims.journal, claims.position, claims.purchase_journal, claims.purchase_position, lines.number,
    coalesce(sum(returned.quantity), 0) AS quantity, coalesce(sum(returned.amount_minor), 0) AS amount_minor
FROM return_claims AS claims
JOIN purchase_lines AS lines ON lines.journal = claims.purchase_journal AND lines.position = claims.purchase_position
LEFT JOIN (
    SELECT earlier.purchase_journal, earlier.purchase_position, earlier.sequence, return_lines.number,
        return_lines.quantity, return_lines.amount_minor
    FROM return_claims AS earlier JOIN return_lines ON return_lines.journal = earlier.journal
        AND return_lines.position = earlier.position AND return_lines.purchase = earlier.purchase
        AND return_lines.purchase_source = earlier.purchase_source
) AS returned ON returned.purchase_journal = claims.purchase_journal
    AND returned.purchase_position = claims.purchase_position AND returned.number = lines.number
    AND returned.sequence <= claims.sequence
GROUP BY claims.journal, claims.position, claims.purchase_journal, claims.purchase_position, lines.number;

CREATE TABLE recomputed_claims AS
SELECT claims.*, due - lag(due, 1, CAST(0 AS BIGINT)) OVER (
    PARTITION BY purchase_journal, purchase_position ORDER BY sequence) AS expected
FROM (
    SELECT claims.*, CASE WHEN coalesce(weights.weight, 0) = 0 THEN 0
        ELSE quotient(earned * CAST(weights.returned AS DECIMAL(38, 0)), weights.weight) END AS due
    FROM return_claims AS claims
    LEFT JOIN (
        SELECT so_far.journal, so_far.position, so_far.purchase_journal, so_far.purchase_position,
            sum(lines.weight) AS weight, sum(CASE
                WHEN bought.amount_minor > 0
                    THEN quotient(CAST(lines.weight AS DECIMAL(38, 0)) * so_far.amount_minor, bought.amount_minor)
                WHEN so_far.quantity >= bought.quantity THEN lines.weight
                ELSE 0 END) AS returned
        FROM returned_so_far AS so_far
        JOIN earnings ON earnings.journal = so_far.purchase_journal
            AND earnings.purchase_position = so_far.purchase_position
        JOIN earning_weights AS lines ON lines.journal = earnings.journal AND lines.position = earnings.position
            AND lines.number = so_far.number
        JOIN purchase_lines AS bought ON bought.journal = so_far.purchase_journal
            AND bought.position = so_far.purchase_position AND bought.number = so_far.number
        GROUP BY so_far.journal, so_far.position, so_far.purchase_journal, so_far.purchase_position
    ) AS weights ON weights.journal = claims.journal AND weights.position = claims.position
        AND weights.purchase_journal = claims.purchase_journal AND weights.purchase_position = claims.purchase_position
) AS claims;

-- Clawbacks, and the lot of the purchase they are for.
CREATE TABLE clawbacks AS
SELECT journal, position, member, occurred_at, source, id, said.due AS due, coalesce(said.arrears, 0) AS arrears,
    coalesce(said.waived, 0) AS waived, said.policy AS policy, said.terms AS terms, said.purchase AS purchase,
    said.purchase_source AS purchase_source
FROM movements WHERE topic = 'points-clawed-back.v1';

CREATE TABLE found_in_returns AS
SELECT 'return' AS finding, journal, position, member, concat('points due for the purchase ', purchase) AS what,
    CAST(expected AS STRING) AS expected, CAST(points_due AS STRING) AS recorded
FROM recomputed_claims WHERE expected <> points_due
UNION ALL
SELECT 'return', matches.journal, matches.position, matches.member,
    concat('its purchase is not recorded: ', matches.purchase), matches.purchase, NULL
FROM return_matches AS matches LEFT JOIN return_claims AS claims ON claims.journal = matches.journal
    AND claims.position = matches.position AND claims.purchase = matches.purchase
    AND claims.purchase_source = matches.purchase_source
WHERE claims.purchase IS NULL
UNION ALL
SELECT 'return', matches.journal, matches.position, matches.member,
    concat('points taken back for the purchase ', matches.purchase), CAST(matches.points_due AS STRING),
    CAST(coalesce(sum(clawbacks.due), 0) AS STRING)
FROM return_matches AS matches
JOIN returns ON returns.journal = matches.journal AND returns.position = matches.position
LEFT JOIN clawbacks ON clawbacks.journal = matches.journal AND clawbacks.member = matches.member
    AND clawbacks.source = returns.source AND clawbacks.id = returns.id AND clawbacks.purchase = matches.purchase
    AND clawbacks.purchase_source = matches.purchase_source
GROUP BY matches.journal, matches.position, matches.member, matches.purchase, matches.purchase_source,
    matches.points_due
HAVING matches.points_due <> coalesce(sum(clawbacks.due), 0)
UNION ALL
SELECT 'return', returns.journal, returns.position, returns.member, 'points due for what no purchase matches',
    CAST(quotient(sum(lines.amount_minor) * max(rate.numerator), max(rate.denominator)) AS STRING),
    CAST(returns.unmatched_points_due AS STRING)
FROM returns
JOIN unmatched_lines AS lines ON lines.journal = returns.journal AND lines.position = returns.position
JOIN term_numbers AS rate ON rate.programme = returns.programme AND rate.version = returns.terms AND rate.rule = ''
GROUP BY returns.journal, returns.position, returns.member, returns.unmatched_points_due
HAVING quotient(sum(lines.amount_minor) * max(rate.numerator), max(rate.denominator)) <> returns.unmatched_points_due;
