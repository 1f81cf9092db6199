-- What DuckDB needs so that the numbered files, which are the same for both engines, run on it.
-- Before: the view exported, of the rows of the export, and the table parameters (docs/recompute.md).

-- An instant as the events write it, in UTC.
CREATE OR REPLACE MACRO instant(written) AS CASE
    WHEN written LIKE '%Z' THEN CAST(written AS TIMESTAMP)
    ELSE make_timestamp(epoch_us(CAST(written AS TIMESTAMPTZ)))
END;
-- The rows of a list.
CREATE OR REPLACE MACRO explode(list) AS unnest(list);
-- An item of a list, from 1, and a value of JSON by its path.
CREATE OR REPLACE MACRO element_at(list, number) AS list_extract(list, number);
CREATE OR REPLACE MACRO get_json_object(written, path) AS json(written) ->> path;
-- The whole part of a quotient of integers that are not negative.
CREATE OR REPLACE MACRO quotient(dividend, divisor) AS
    CAST(CAST(dividend AS HUGEINT) // CAST(divisor AS HUGEINT) AS BIGINT);
-- The day of an instant in a time zone; at the end of the calendar the last one.
CREATE OR REPLACE MACRO local_day(instant_utc, zone) AS
    least(CAST(timezone(zone, timezone('UTC', instant_utc)) AS DATE), DATE '9999-12-31');
-- The different values of a column, and a list as text.
CREATE OR REPLACE MACRO collect_set(value) AS list(DISTINCT value) FILTER (value IS NOT NULL);
CREATE OR REPLACE MACRO array_join(list, separator) AS array_to_string(list, separator);
-- Whole seconds and microseconds between two instants, as microseconds.
CREATE OR REPLACE MACRO microseconds_between(earlier, later) AS epoch_us(later) - epoch_us(earlier);
-- The lot that an adjustment opens, which is written whole where an accrual has its name only.
CREATE OR REPLACE MACRO lot_written(written) AS from_json(written, '{"lot": "VARCHAR", "points": "BIGINT",
    "opened_at": "VARCHAR", "available_at": "VARCHAR", "expires_at": "VARCHAR"}');
-- The first day of a month.
CREATE OR REPLACE MACRO month_of(day) AS CAST(date_trunc('month', day) AS DATE);

CREATE TEMPORARY VIEW events AS
SELECT journal, position, stream_version, topic, programme, member,
    make_timestamp(epoch_us(occurred_at)) AS occurred_at, make_timestamp(epoch_us(recorded_at)) AS recorded_at,
    source, id, state
FROM exported;

-- What events say: each of these views has the columns of events, and a struct said with the fields of its topics.

CREATE TEMPORARY VIEW said_programmes AS
SELECT * EXCLUDE (state), from_json(state, '{"time_zone": "VARCHAR"}') AS said
FROM events WHERE topic = 'programme-created.v1';

CREATE TEMPORARY VIEW said_movements AS
SELECT * EXCLUDE (state), from_json(state, '{"points": "BIGINT", "repaid": "BIGINT", "due": "BIGINT",
    "waived": "BIGINT", "arrears": "BIGINT", "arrears_written_off": "BIGINT", "side": "VARCHAR", "policy": "VARCHAR",
    "terms": "INTEGER", "purchase": "VARCHAR", "purchase_source": "VARCHAR",
    "lot": "VARCHAR", "available_at": "VARCHAR", "expires_at": "VARCHAR",
    "lots": [{"lot": "VARCHAR", "points": "BIGINT", "opened_at": "VARCHAR", "available_at": "VARCHAR",
        "expires_at": "VARCHAR"}],
    "allocations": [{"lot": "VARCHAR", "points": "BIGINT", "available_at": "VARCHAR", "expires_at": "VARCHAR"}],
    "restored": [{"lot": "VARCHAR", "points": "BIGINT", "available_at": "VARCHAR", "expires_at": "VARCHAR"}],
    "forfeited": [{"lot": "VARCHAR", "points": "BIGINT", "available_at": "VARCHAR", "expires_at": "VARCHAR"}]}') AS said
FROM events WHERE topic IN (
    'points-accrued.v1', 'points-redeemed.v1', 'redemption-reversed.v1', 'points-held.v1', 'hold-captured.v1',
    'hold-released.v1', 'points-expired.v1', 'points-clawed-back.v1', 'points-adjusted.v1', 'points-transferred-out.v1',
    'points-transferred-in.v1', 'members-merged.v1', 'merge-undone.v1', 'member-closed.v1', 'member-erased.v1');

CREATE TEMPORARY VIEW said_merges AS
SELECT * EXCLUDE (state), from_json(state, '{"side": "VARCHAR", "other": "VARCHAR"}') AS said
FROM events WHERE topic IN ('members-merged.v1', 'merge-undone.v1');

CREATE TEMPORARY VIEW said_purchases AS
SELECT * EXCLUDE (state, said),
    list_transform(said.lines, lambda line, number: {'number': number - 1, 'line': line}) AS lines, said
FROM (
    SELECT *, from_json(state, '{"terms": "INTEGER", "channel": "VARCHAR", "store": "VARCHAR",
        "lines": [{"quantity": "BIGINT", "amount_minor": "BIGINT", "category": "VARCHAR", "cost_minor": "BIGINT",
            "tax_minor": "BIGINT", "discount_minor": "BIGINT", "reward": "BOOLEAN"}]}') AS said
    FROM events WHERE topic = 'purchase-recorded.v1'
) AS decoded;

CREATE TEMPORARY VIEW said_returns AS
SELECT * EXCLUDE (state), from_json(state, '{"amount_minor": "BIGINT", "terms": "INTEGER",
    "matches": [{"purchase": "VARCHAR", "purchase_source": "VARCHAR", "lines": [["BIGINT"]], "points_due": "BIGINT",
        "cost_minor": "BIGINT"}],
    "unmatched": [{"quantity": "BIGINT", "amount_minor": "BIGINT"}], "unmatched_points_due": "BIGINT"}') AS said
FROM events WHERE topic = 'purchase-returned.v1';

CREATE TEMPORARY VIEW said_costs AS
SELECT * EXCLUDE (state), from_json(state, '{"amount_minor": "BIGINT"}') AS said
FROM events WHERE topic = 'cost-attributed.v1';

CREATE TEMPORARY VIEW said_wallets AS
SELECT * EXCLUDE (state), from_json(state, '{"currency": "VARCHAR", "yearly_spend_minor": "BIGINT"}') AS said
FROM events WHERE topic = 'wallet-share-surveyed.v1';

CREATE TEMPORARY VIEW said_earnings AS
SELECT * EXCLUDE (state, said), said,
    list_transform(said.weights, lambda weight, number: {'number': number - 1, 'weight': weight}) AS weights,
    list_transform(said.parts, lambda part, number: {'number': number - 1, 'part': part}) AS parts
FROM (
    SELECT *, from_json(state, '{"lot": "VARCHAR", "points": "BIGINT", "terms": "INTEGER", "purchase": "VARCHAR",
        "base_minor": "BIGINT", "weights": ["DECIMAL(38,0)"], "scale": "DECIMAL(38,0)", "before_cap": "BIGINT",
        "cap": "VARCHAR", "earned_on": "VARCHAR", "parts": [{"rules": ["VARCHAR"], "base_minor": "BIGINT",
            "rate": "VARCHAR", "multiplier": "VARCHAR", "lines": ["INTEGER"]}]}') AS said
    FROM events WHERE topic = 'points-accrued.v1'
) AS decoded;

CREATE TEMPORARY VIEW said_terms AS
SELECT * EXCLUDE (state), from_json(state, '{"version": "INTEGER", "document": {
    "earning": {"rate": "VARCHAR", "rounding": "VARCHAR", "stacking": "VARCHAR",
        "base": {"include_categories": ["VARCHAR"], "exclude_categories": ["VARCHAR"], "tax": "VARCHAR",
            "discounts": "VARCHAR", "rewards": "VARCHAR"},
        "caps": {"purchase": "BIGINT", "day": "BIGINT", "month": "BIGINT"},
        "multipliers": [{"rule": "VARCHAR", "multiplier": "VARCHAR"}]},
    "returns": {"policy": "VARCHAR"}}}') AS said
FROM events WHERE topic = 'terms-published.v1';

CREATE TEMPORARY VIEW said_answers AS
SELECT * EXCLUDE (state), from_json(state, '{"instrument": "VARCHAR", "scale": ["BIGINT"], "touchpoint": "VARCHAR",
    "channel": "VARCHAR", "store": "VARCHAR", "weights": "MAP(VARCHAR, BIGINT)"}') AS said
FROM events WHERE topic = 'survey-answered.v1';

-- The numbers among the answers, as they are written; texts are left out.
CREATE TEMPORARY VIEW survey_numbers AS
SELECT journal, position, entry.key AS question, CAST(entry.value AS VARCHAR) AS number
FROM (
    SELECT journal, position,
        explode(map_entries(from_json(state -> 'answers', '"MAP(VARCHAR, JSON)"'))) AS entry
    FROM events WHERE topic = 'survey-answered.v1'
) AS answered
WHERE json_type(entry.value) <> 'VARCHAR';

CREATE TEMPORARY VIEW said_service AS
SELECT * EXCLUDE (state), from_json(state, '{"touchpoint": "VARCHAR", "channel": "VARCHAR", "store": "VARCHAR",
    "complaint": "VARCHAR", "opened_at": "VARCHAR", "follow_up": "VARCHAR", "due_at": "VARCHAR"}') AS said
FROM events WHERE topic IN (
    'complaint-opened.v1', 'complaint-resolved.v1', 'follow-up-scheduled.v1', 'follow-up-completed.v1');
