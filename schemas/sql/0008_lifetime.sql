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
