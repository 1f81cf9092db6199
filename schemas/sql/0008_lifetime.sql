-- Read models of customer value and behaviour, filled from the log alone; see docs/value.md for what each figure means.
-- Money is in minor units of the programme's currency; days and months are those of the programme's time zone.

CREATE TABLE lifetime (                         -- one row a member; a merged one keeps its own, under its survivor's name
    journal               integer   NOT NULL,
    member                text      NOT NULL COLLATE "C",
    status                text      NOT NULL CHECK (status IN ('unknown', 'open', 'closed', 'erased', 'merged')),
    enrolled_at           timestamptz,
    cohort                date,                 -- the first day of the month of enrolment
    survivor              text      COLLATE "C",            -- whom it was merged into
    first_purchase_at     timestamptz,
    last_purchase_at      timestamptz,
    first_day             date,                 -- with a purchase
    second_day            date,                 -- the second day with a purchase
    last_day              date,
    points_earned         bigint    NOT NULL,   -- accrued
    points_redeemed       bigint    NOT NULL,   -- redeemed and captured, less reversed
    surveyed_at           timestamptz,          -- the newest wallet survey
    yearly_spend_minor    bigint,
    survey_currency       text,
    channels              text[]    NOT NULL,   -- of its purchases, sorted
    stores                text[]    NOT NULL,
    active_months         integer[] NOT NULL,   -- with a purchase: 12 * year + month - 1, ascending
    purchases             bigint    NOT NULL,
    units                 bigint    NOT NULL,
    revenue_minor         bigint    NOT NULL,   -- as purchased
    returns               bigint    NOT NULL,
    returned_units        bigint    NOT NULL,
    returned_minor        bigint    NOT NULL,
    goods_cost_minor      bigint    NOT NULL,   -- as far as known, less that of goods that came back
    attributed_cost_minor bigint    NOT NULL,
    uncosted_lines        bigint    NOT NULL,   -- lines purchased or returned whose cost is not known
    PRIMARY KEY (journal, member)
);

CREATE INDEX ON lifetime (journal, survivor, member) WHERE survivor IS NOT NULL;

CREATE TABLE trade_days (                       -- the same sums, of one day of one member
    journal               integer NOT NULL,
    member                text    NOT NULL COLLATE "C",
    day                   date    NOT NULL,
    purchases             bigint  NOT NULL,
    units                 bigint  NOT NULL,
    revenue_minor         bigint  NOT NULL,
    returns               bigint  NOT NULL,
    returned_units        bigint  NOT NULL,
    returned_minor        bigint  NOT NULL,
    goods_cost_minor      bigint  NOT NULL,
    attributed_cost_minor bigint  NOT NULL,
    uncosted_lines        bigint  NOT NULL,
    PRIMARY KEY (journal, member, day)
);

CREATE TABLE lifetime_analysis (                -- how the programme looks at its members; in its first journal
    journal             integer NOT NULL PRIMARY KEY,
    version             integer NOT NULL,
    inactive_after_days integer NOT NULL,
    bands               jsonb   NOT NULL
);

-- Sums over the members of a journal as they are recorded; readers correct them for members that were merged.

CREATE TABLE lifetime_totals (
    journal                      integer NOT NULL PRIMARY KEY,
    members_unknown              bigint  NOT NULL,
    members_open                 bigint  NOT NULL,
    members_closed               bigint  NOT NULL,
    members_erased               bigint  NOT NULL,
    members_merged               bigint  NOT NULL,
    prospects                    bigint  NOT NULL,  -- open, without any purchase
    customers                    bigint  NOT NULL,  -- with a purchase
    purchases                    bigint  NOT NULL,
    units                        bigint  NOT NULL,
    revenue_minor                bigint  NOT NULL,
    returns                      bigint  NOT NULL,
    returned_units               bigint  NOT NULL,
    returned_minor               bigint  NOT NULL,
    goods_cost_minor             bigint  NOT NULL,
    attributed_cost_minor        bigint  NOT NULL,
    uncosted_lines               bigint  NOT NULL,
    profitable_members           bigint  NOT NULL,
    profit_minor                 bigint  NOT NULL,  -- of the profitable members
    unprofitable_members         bigint  NOT NULL,
    loss_minor                   bigint  NOT NULL,  -- of the unprofitable members, positive
    unknown_profit_members       bigint  NOT NULL,
    unknown_profit_revenue_minor bigint  NOT NULL,  -- their revenue net of returns
    points_earned                bigint  NOT NULL,
    points_redeemed              bigint  NOT NULL
);

CREATE TABLE lifetime_profits (                 -- members with trade or cost and a known profit, by bucket of profit
    journal      integer NOT NULL,
    bucket       integer NOT NULL,              -- 0: no profit; 1, 2 ...: profits; -1, -2 ...: losses; 16 an octave
    members      bigint  NOT NULL,
    profit_minor bigint  NOT NULL,
    PRIMARY KEY (journal, bucket)
);

CREATE TABLE lifetime_last_days (               -- customers by the day of their last purchase
    journal  integer NOT NULL,
    last_day date    NOT NULL,
    members  bigint  NOT NULL,
    PRIMARY KEY (journal, last_day)
);

CREATE TABLE cohorts (                          -- members by month of enrolment
    journal integer NOT NULL,
    cohort  date    NOT NULL,
    members bigint  NOT NULL,
    PRIMARY KEY (journal, cohort)
);

CREATE TABLE cohort_repurchases (               -- customers of a cohort by first day, and who purchased again, how soon
    journal         integer NOT NULL,
    cohort          date    NOT NULL,
    first_day       date    NOT NULL,
    members         bigint  NOT NULL,
    within_30_days  bigint  NOT NULL,
    within_90_days  bigint  NOT NULL,
    within_365_days bigint  NOT NULL,
    PRIMARY KEY (journal, cohort, first_day)
);

CREATE TABLE cohort_months (                    -- trade of a cohort by month
    journal           integer NOT NULL,
    cohort            date    NOT NULL,
    month             date    NOT NULL,
    active_members    bigint  NOT NULL,         -- with a purchase in the month
    purchases         bigint  NOT NULL,
    net_revenue_minor bigint  NOT NULL,
    PRIMARY KEY (journal, cohort, month)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON lifetime, trade_days, lifetime_analysis, lifetime_totals, lifetime_profits,
    lifetime_last_days, cohorts, cohort_repurchases, cohort_months TO loyalty_writer;
GRANT SELECT ON lifetime, trade_days, lifetime_analysis, lifetime_totals, lifetime_profits, lifetime_last_days, cohorts,
    cohort_repurchases, cohort_months TO loyalty_reader;

-- Views for readers, by programme. What each figure means is in docs/value.md.

CREATE SCHEMA IF NOT EXISTS loyalty_read;
GRANT USAGE ON SCHEMA loyalty_read TO loyalty_reader;

CREATE VIEW loyalty_read.merged_members AS
WITH RECURSIVE climbing AS (
    SELECT journals.name AS programme, lifetime.journal, member, survivor AS person
    FROM lifetime JOIN journals USING (journal) WHERE survivor IS NOT NULL
    UNION
    SELECT climbing.programme, climbing.journal, climbing.member, above.survivor
    FROM climbing
    JOIN journals ON journals.kind = 'programme' AND journals.name = climbing.programme
    JOIN lifetime above ON above.journal = journals.journal AND above.member = climbing.person
    WHERE above.survivor IS NOT NULL
)
SELECT programme, journal, member, person FROM climbing WHERE NOT EXISTS (
    SELECT FROM lifetime above JOIN journals USING (journal)
    WHERE journals.name = climbing.programme AND above.member = climbing.person AND above.survivor IS NOT NULL
);
COMMENT ON VIEW loyalty_read.merged_members IS 'Members that were merged into another, and who they are now.';
COMMENT ON COLUMN loyalty_read.merged_members.journal IS 'The journal of the merged member.';
COMMENT ON COLUMN loyalty_read.merged_members.person IS 'The member that is left at the end of the chain of merges.';

CREATE VIEW loyalty_read.member_lifetime AS
WITH records AS (
    SELECT journals.name AS programme, lifetime.* FROM lifetime JOIN journals USING (journal)
), families AS MATERIALIZED (
    SELECT merged.person, records.* FROM loyalty_read.merged_members merged
    JOIN records ON records.journal = merged.journal AND records.member = merged.member
    UNION ALL
    SELECT merged.person, records.* FROM (SELECT DISTINCT programme, person FROM loyalty_read.merged_members) merged
    JOIN records ON records.programme = merged.programme AND records.member = merged.person
), persons AS (
    SELECT programme, member, status, enrolled_at, cohort, first_purchase_at, last_purchase_at, first_day, second_day,
        last_day, cardinality(active_months) AS months_active, purchases, returns, units - returned_units AS units,
        revenue_minor AS purchased_minor, returned_minor, goods_cost_minor, attributed_cost_minor, uncosted_lines,
        points_earned, points_redeemed, yearly_spend_minor, surveyed_at, channels, stores
    FROM records WHERE survivor IS NULL AND NOT EXISTS (
        SELECT FROM families WHERE families.programme = records.programme AND families.person = records.member
    )
    UNION ALL
    SELECT programme, person, max(status) FILTER (WHERE member = person), min(enrolled_at), min(cohort),
        min(first_purchase_at), max(last_purchase_at), min(first_day),
        (SELECT (array_agg(DISTINCT day ORDER BY day))[2] FROM families mine, unnest(ARRAY[first_day, second_day]) AS day
            WHERE mine.programme = family.programme AND mine.person = family.person AND day IS NOT NULL),
        max(last_day),
        (SELECT count(DISTINCT month)::integer FROM families mine, unnest(active_months) AS month
            WHERE mine.programme = family.programme AND mine.person = family.person),
        sum(purchases)::bigint, sum(returns)::bigint, sum(units - returned_units)::bigint, sum(revenue_minor)::bigint,
        sum(returned_minor)::bigint, sum(goods_cost_minor)::bigint, sum(attributed_cost_minor)::bigint,
        sum(uncosted_lines)::bigint, sum(points_earned)::bigint, sum(points_redeemed)::bigint,
        (array_agg(yearly_spend_minor ORDER BY surveyed_at DESC NULLS LAST, member <> person, member))[1],
        max(surveyed_at),
        ARRAY(SELECT DISTINCT channel FROM families mine, unnest(channels) AS channel
            WHERE mine.programme = family.programme AND mine.person = family.person ORDER BY 1),
        ARRAY(SELECT DISTINCT store FROM families mine, unnest(stores) AS store
            WHERE mine.programme = family.programme AND mine.person = family.person ORDER BY 1)
    FROM families family GROUP BY programme, person
)
SELECT programme, member, status AS membership, enrolled_at, cohort, first_purchase_at, last_purchase_at, first_day,
    second_day, last_day, months_active, purchases, returns, units, purchased_minor, returned_minor,
    purchased_minor - returned_minor AS revenue_minor,
    CASE WHEN uncosted_lines = 0 THEN goods_cost_minor END AS goods_cost_minor, attributed_cost_minor,
    CASE WHEN uncosted_lines = 0
        THEN purchased_minor - returned_minor - goods_cost_minor - attributed_cost_minor END AS profit_minor,
    uncosted_lines, points_earned, points_redeemed, yearly_spend_minor, surveyed_at, channels, stores
FROM persons;
COMMENT ON VIEW loyalty_read.member_lifetime IS
    'What each member bought, gave back and cost, with all that was merged into it; merged members have no row.';
COMMENT ON COLUMN loyalty_read.member_lifetime.membership IS 'unknown, open, closed or erased.';
COMMENT ON COLUMN loyalty_read.member_lifetime.cohort IS 'The first day of the month of enrolment.';
COMMENT ON COLUMN loyalty_read.member_lifetime.first_day IS 'The first day with a purchase, in the programme''s time zone.';
COMMENT ON COLUMN loyalty_read.member_lifetime.second_day IS 'The second day with a purchase.';
COMMENT ON COLUMN loyalty_read.member_lifetime.last_day IS 'The last day with a purchase.';
COMMENT ON COLUMN loyalty_read.member_lifetime.months_active IS 'Months with a purchase.';
COMMENT ON COLUMN loyalty_read.member_lifetime.units IS 'Net of those returned.';
COMMENT ON COLUMN loyalty_read.member_lifetime.purchased_minor IS 'As paid, tax included, before returns; in minor units.';
COMMENT ON COLUMN loyalty_read.member_lifetime.revenue_minor IS 'What was purchased less what was returned.';
COMMENT ON COLUMN loyalty_read.member_lifetime.goods_cost_minor IS
    'Of goods bought less those returned; NULL where the cost of any line is not known.';
COMMENT ON COLUMN loyalty_read.member_lifetime.profit_minor IS
    'Revenue less the costs of goods and of service; NULL where the cost of any line is not known.';
COMMENT ON COLUMN loyalty_read.member_lifetime.uncosted_lines IS 'Lines bought or returned whose cost is not known.';
COMMENT ON COLUMN loyalty_read.member_lifetime.points_redeemed IS 'Redeemed and captured, less reversed.';
COMMENT ON COLUMN loyalty_read.member_lifetime.yearly_spend_minor IS 'By the newest wallet survey.';

CREATE VIEW loyalty_read.trade_days AS
SELECT journals.name AS programme, trade_days.member, coalesce(merged.person, trade_days.member) AS person, day,
    purchases, units, revenue_minor AS purchased_minor, returns, returned_units, returned_minor, goods_cost_minor,
    attributed_cost_minor, uncosted_lines
FROM trade_days JOIN journals USING (journal)
LEFT JOIN loyalty_read.merged_members merged
    ON merged.journal = trade_days.journal AND merged.member = trade_days.member;
COMMENT ON VIEW loyalty_read.trade_days IS 'What each member bought, gave back and cost on one day; these sums add up.';
COMMENT ON COLUMN loyalty_read.trade_days.person IS 'The member itself, or who it is since it was merged.';
COMMENT ON COLUMN loyalty_read.trade_days.day IS 'In the programme''s time zone.';
COMMENT ON COLUMN loyalty_read.trade_days.goods_cost_minor IS 'Of the lines whose cost is known, less goods returned.';
COMMENT ON COLUMN loyalty_read.trade_days.uncosted_lines IS 'Lines bought or returned whose cost is not known.';

CREATE VIEW loyalty_read.programme_value AS
WITH people AS (  -- records that were merged, taken away, and the persons that they are, added
    SELECT programme, person, member AS record, -1 AS sign FROM loyalty_read.merged_members
    UNION SELECT programme, person, person, -1 FROM loyalty_read.merged_members
    UNION ALL
    SELECT programme, person, member, 1 FROM loyalty_read.merged_members
    UNION ALL
    SELECT DISTINCT programme, person, person, 1 FROM loyalty_read.merged_members
), counted AS (
    SELECT people.programme, sign, CASE WHEN sign = 1 THEN '' ELSE record END AS record, person,
        sum(purchases) AS purchases, bool_or(lifetime.status = 'open') AS open, sum(uncosted_lines) AS uncosted_lines,
        sum(revenue_minor - returned_minor) AS revenue,
        sum(revenue_minor - returned_minor - goods_cost_minor - attributed_cost_minor) AS profit
    FROM people
    JOIN journals ON journals.kind = 'programme' AND journals.name = people.programme
    JOIN lifetime ON lifetime.journal = journals.journal AND lifetime.member = people.record
    GROUP BY 1, 2, 3, 4
), corrections AS (
    SELECT programme,
        sum(sign * (open AND purchases = 0)::integer) AS prospects,
        sum(sign * (purchases > 0)::integer) AS customers,
        sum(sign) FILTER (WHERE uncosted_lines = 0 AND profit > 0) AS profitable_members,
        sum(sign * profit) FILTER (WHERE uncosted_lines = 0 AND profit > 0) AS profit_minor,
        sum(sign) FILTER (WHERE uncosted_lines = 0 AND profit < 0) AS unprofitable_members,
        -sum(sign * profit) FILTER (WHERE uncosted_lines = 0 AND profit < 0) AS loss_minor,
        sum(sign) FILTER (WHERE uncosted_lines > 0) AS unknown_profit_members,
        sum(sign * revenue) FILTER (WHERE uncosted_lines > 0) AS unknown_profit_revenue_minor
    FROM counted GROUP BY programme
), sums AS (
    SELECT journals.name AS programme, sum(members_unknown + members_open + members_closed + members_erased) AS members,
        sum(prospects) AS prospects, sum(customers) AS customers, sum(purchases) AS purchases, sum(returns) AS returns,
        sum(units - returned_units) AS units, sum(revenue_minor) AS purchased_minor,
        sum(returned_minor) AS returned_minor, sum(revenue_minor - returned_minor) AS revenue_minor,
        sum(goods_cost_minor) AS goods_cost_minor, sum(attributed_cost_minor) AS attributed_cost_minor,
        sum(uncosted_lines) AS uncosted_lines, sum(profitable_members) AS profitable_members,
        sum(profit_minor) AS profit_minor, sum(unprofitable_members) AS unprofitable_members,
        sum(loss_minor) AS loss_minor, sum(unknown_profit_members) AS unknown_profit_members,
        sum(unknown_profit_revenue_minor) AS unknown_profit_revenue_minor, sum(points_earned) AS points_earned,
        sum(points_redeemed) AS points_redeemed
    FROM lifetime_totals JOIN journals USING (journal) GROUP BY 1
)
SELECT programme, members, sums.prospects + coalesce(c.prospects, 0) AS prospects,
    sums.customers + coalesce(c.customers, 0) AS customers, purchases, returns, units, purchased_minor, returned_minor,
    revenue_minor, goods_cost_minor, attributed_cost_minor, uncosted_lines,
    sums.profitable_members + coalesce(c.profitable_members, 0) AS profitable_members,
    sums.profit_minor + coalesce(c.profit_minor, 0) AS profit_minor,
    sums.unprofitable_members + coalesce(c.unprofitable_members, 0) AS unprofitable_members,
    sums.loss_minor + coalesce(c.loss_minor, 0) AS loss_minor,
    sums.profit_minor + coalesce(c.profit_minor, 0) - sums.loss_minor - coalesce(c.loss_minor, 0)
        AS operating_profit_minor,
    sums.unknown_profit_members + coalesce(c.unknown_profit_members, 0) AS unknown_profit_members,
    sums.unknown_profit_revenue_minor + coalesce(c.unknown_profit_revenue_minor, 0) AS unknown_profit_revenue_minor,
    points_earned, points_redeemed
FROM sums LEFT JOIN corrections c USING (programme);
COMMENT ON VIEW loyalty_read.programme_value IS
    'Sums over the persons of a programme: members that were merged count as one. Money is in minor units.';
COMMENT ON COLUMN loyalty_read.programme_value.prospects IS 'Open members without any purchase.';
COMMENT ON COLUMN loyalty_read.programme_value.customers IS 'Members with a purchase.';
COMMENT ON COLUMN loyalty_read.programme_value.profit_minor IS 'Of the profitable members.';
COMMENT ON COLUMN loyalty_read.programme_value.loss_minor IS 'Of the members that cost more than they brought; positive.';
COMMENT ON COLUMN loyalty_read.programme_value.operating_profit_minor IS
    'Profit less loss; without the members whose profit is not known.';
COMMENT ON COLUMN loyalty_read.programme_value.unknown_profit_members IS 'With a line whose cost is not known.';
COMMENT ON COLUMN loyalty_read.programme_value.unknown_profit_revenue_minor IS 'Their revenue net of returns.';

CREATE VIEW loyalty_read.cohorts AS
SELECT journals.name AS programme, cohort, month, sum(cohorts.members) AS members,
    sum(coalesce(active_members, 0)) AS active_members, sum(coalesce(cohort_months.purchases, 0)) AS purchases,
    sum(coalesce(net_revenue_minor, 0)) AS revenue_minor
FROM cohorts JOIN journals USING (journal)
CROSS JOIN LATERAL (
    SELECT DISTINCT traded.month FROM cohort_months traded JOIN journals others USING (journal)
    WHERE others.name = journals.name AND traded.cohort = cohorts.cohort
) months
LEFT JOIN cohort_months USING (journal, cohort, month)
GROUP BY 1, 2, 3;
COMMENT ON VIEW loyalty_read.cohorts IS
    'Trade by month of enrolment and month. Members as they are recorded: merged ones count for each record.';
COMMENT ON COLUMN loyalty_read.cohorts.cohort IS 'The first day of the month of enrolment.';
COMMENT ON COLUMN loyalty_read.cohorts.members IS 'Members enrolled in that month.';
COMMENT ON COLUMN loyalty_read.cohorts.active_members IS 'With a purchase in the month; by members: retention.';
COMMENT ON COLUMN loyalty_read.cohorts.revenue_minor IS 'Net of returns.';

CREATE VIEW loyalty_read.cohort_repurchases AS
SELECT journals.name AS programme, cohort, first_day, sum(members) AS customers, sum(within_30_days) AS within_30_days,
    sum(within_90_days) AS within_90_days, sum(within_365_days) AS within_365_days
FROM cohort_repurchases JOIN journals USING (journal) GROUP BY 1, 2, 3;
COMMENT ON VIEW loyalty_read.cohort_repurchases IS
    'Customers by month of enrolment and first day with a purchase, and how many purchased on another day how soon.'
    ' Members as they are recorded: merged ones count for each record.';

GRANT SELECT ON ALL TABLES IN SCHEMA loyalty_read TO loyalty_reader;
