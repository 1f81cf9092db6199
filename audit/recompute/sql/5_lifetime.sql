-- Lifetime: what each member bought, gave back and cost (read model: lifetime). A merged member keeps its own figures.

CREATE TEMPORARY VIEW zones AS
SELECT programme, max(said.time_zone) AS zone FROM said_programmes GROUP BY programme;

CREATE TABLE purchases AS
SELECT said_purchases.journal, said_purchases.position, said_purchases.programme, said_purchases.member,
    said_purchases.source, said_purchases.id, said_purchases.occurred_at,
    local_day(said_purchases.occurred_at, zones.zone) AS day, said_purchases.said.terms AS terms,
    coalesce(said_purchases.said.channel, '') AS channel, coalesce(said_purchases.said.store, '') AS store,
    said_purchases.lines AS lines
FROM said_purchases LEFT JOIN zones ON zones.programme = said_purchases.programme;

CREATE TEMPORARY VIEW purchase_lines AS
SELECT journal, position, member, one.number AS number, one.line.quantity AS quantity,
    one.line.amount_minor AS amount_minor, coalesce(one.line.category, '') AS category,
    one.line.cost_minor AS cost_minor, coalesce(one.line.tax_minor, 0) AS tax_minor,
    coalesce(one.line.discount_minor, 0) AS discount_minor, coalesce(one.line.reward, FALSE) AS reward
FROM (SELECT journal, position, member, explode(lines) AS one FROM purchases) AS lines;

CREATE TABLE returns AS
SELECT journal, position, programme, member, source, id, occurred_at, said.amount_minor AS amount_minor,
    said.terms AS terms, coalesce(said.unmatched_points_due, 0) AS unmatched_points_due
FROM said_returns;

CREATE TABLE return_matches AS
SELECT journal, position, programme, member, match.purchase AS purchase, match.purchase_source AS purchase_source,
    match.points_due AS points_due, match.cost_minor AS cost_minor, match.lines AS lines
FROM (SELECT journal, position, programme, member, explode(said.matches) AS match FROM said_returns) AS matches;

CREATE TABLE return_lines AS
SELECT journal, position, purchase, purchase_source, cost_minor,
    element_at(line, 1) AS number, element_at(line, 2) AS quantity, element_at(line, 3) AS amount_minor
FROM (SELECT journal, position, purchase, purchase_source, cost_minor, explode(lines) AS line FROM return_matches)
    AS lines;

CREATE TABLE unmatched_lines AS
SELECT journal, position, member, line.quantity AS quantity, line.amount_minor AS amount_minor
FROM (SELECT journal, position, member, explode(said.unmatched) AS line FROM said_returns) AS lines;

CREATE TABLE trade AS
SELECT journal, position, member, 1 AS purchases, 0 AS units, 0 AS revenue_minor, 0 AS returns, 0 AS returned_units,
    0 AS returned_minor, 0 AS goods_cost_minor, 0 AS attributed_cost_minor, 0 AS uncosted_lines
FROM purchases
UNION ALL
SELECT journal, position, member, 0, quantity, amount_minor, 0, 0, 0, coalesce(cost_minor, 0), 0,
    CASE WHEN cost_minor IS NULL THEN 1 ELSE 0 END
FROM purchase_lines
UNION ALL
SELECT journal, position, member, 0, 0, 0, 1, 0, amount_minor, 0, 0, 0 FROM returns
UNION ALL
SELECT journal, position, member, 0, 0, 0, 0, 0, 0, -coalesce(cost_minor, 0), 0, 0 FROM return_matches
UNION ALL
SELECT returns.journal, returns.position, returns.member, 0, 0, 0, 0, return_lines.quantity, 0, 0, 0,
    CASE WHEN return_lines.cost_minor IS NULL THEN 1 ELSE 0 END
FROM return_lines JOIN returns ON returns.journal = return_lines.journal AND returns.position = return_lines.position
UNION ALL
SELECT journal, position, member, 0, 0, 0, 0, quantity, 0, 0, 0, 1 FROM unmatched_lines
UNION ALL
SELECT journal, position, member, 0, 0, 0, 0, 0, 0, 0, said.amount_minor, 0 FROM said_costs;

-- In which days and months a member bought, and where.
CREATE TEMPORARY VIEW purchase_days AS
SELECT journal, member, min(day) AS first_day, min(CASE WHEN place = 2 THEN day END) AS second_day,
    max(day) AS last_day, count(DISTINCT month_of(day)) AS months_active
FROM (
    SELECT journal, member, day, row_number() OVER (PARTITION BY journal, member ORDER BY day) AS place
    FROM (SELECT DISTINCT journal, member, day FROM purchases) AS days
) AS numbered
GROUP BY journal, member;

CREATE TEMPORARY VIEW purchase_places AS
SELECT journal, member, min(occurred_at) AS first_purchase_at, max(occurred_at) AS last_purchase_at,
    array_join(array_sort(collect_set(nullif(channel, ''))), ',') AS channels,
    array_join(array_sort(collect_set(nullif(store, ''))), ',') AS stores
FROM purchases GROUP BY journal, member;

-- What a member said last to spend in a year; of one instant, what was recorded last.
CREATE TEMPORARY VIEW wallets AS
SELECT journal, member, occurred_at AS surveyed_at, said.yearly_spend_minor AS yearly_spend_minor,
    said.currency AS survey_currency
FROM (
    SELECT *, row_number() OVER (PARTITION BY journal, member ORDER BY occurred_at DESC, position DESC) AS place
    FROM said_wallets
) AS surveys
WHERE place = 1;

CREATE TABLE recomputed_lifetime AS
SELECT balances.journal, balances.member, balances.status, enrolments.enrolled_at,
    month_of(local_day(enrolments.enrolled_at, enrolments.zone)) AS cohort,
    nullif(latest.survivor, '') AS survivor, places.first_purchase_at, places.last_purchase_at, purchase_days.first_day,
    purchase_days.second_day, purchase_days.last_day, coalesce(purchase_days.months_active, 0) AS months_active,
    coalesce(places.channels, '') AS channels, coalesce(places.stores, '') AS stores, wallets.surveyed_at,
    wallets.yearly_spend_minor, wallets.survey_currency, balances.earned AS points_earned,
    balances.spent AS points_redeemed, coalesce(sums.purchases, 0) AS purchases, coalesce(sums.units, 0) AS units,
    coalesce(sums.revenue_minor, 0) AS revenue_minor, coalesce(sums.returns, 0) AS returns,
    coalesce(sums.returned_units, 0) AS returned_units, coalesce(sums.returned_minor, 0) AS returned_minor,
    coalesce(sums.goods_cost_minor, 0) AS goods_cost_minor,
    coalesce(sums.attributed_cost_minor, 0) AS attributed_cost_minor, coalesce(sums.uncosted_lines, 0) AS uncosted_lines
FROM recomputed_balances AS balances
LEFT JOIN (
    SELECT events.journal, events.member, max(zones.zone) AS zone, min(events.occurred_at) AS enrolled_at
    FROM events LEFT JOIN zones ON zones.programme = events.programme
    WHERE events.topic = 'member-enrolled.v1' GROUP BY events.journal, events.member
) AS enrolments ON enrolments.journal = balances.journal AND enrolments.member = balances.member
LEFT JOIN (
    SELECT journal, member, max_by(survivor, position) AS survivor
    FROM (
        SELECT journal, member, position, CASE WHEN topic = 'members-merged.v1' THEN said.other ELSE '' END AS survivor
        FROM said_merges
        WHERE (topic = 'members-merged.v1' AND said.side = 'out') OR (topic = 'merge-undone.v1' AND said.side = 'in')
    ) AS steps
    GROUP BY journal, member
) AS latest ON latest.journal = balances.journal AND latest.member = balances.member
LEFT JOIN purchase_places AS places ON places.journal = balances.journal AND places.member = balances.member
LEFT JOIN purchase_days ON purchase_days.journal = balances.journal AND purchase_days.member = balances.member
LEFT JOIN wallets ON wallets.journal = balances.journal AND wallets.member = balances.member
LEFT JOIN (
    SELECT journal, member, CAST(sum(purchases) AS BIGINT) AS purchases, CAST(sum(units) AS BIGINT) AS units,
        CAST(sum(revenue_minor) AS BIGINT) AS revenue_minor, CAST(sum(returns) AS BIGINT) AS returns,
        CAST(sum(returned_units) AS BIGINT) AS returned_units, CAST(sum(returned_minor) AS BIGINT) AS returned_minor,
        CAST(sum(goods_cost_minor) AS BIGINT) AS goods_cost_minor,
        CAST(sum(attributed_cost_minor) AS BIGINT) AS attributed_cost_minor,
        CAST(sum(uncosted_lines) AS BIGINT) AS uncosted_lines
    FROM trade GROUP BY journal, member
) AS sums ON sums.journal = balances.journal AND sums.member = balances.member;
