-- What Spark needs so that the numbered files, which are the same for both engines, run on it. Its sessions are in UTC,
-- and timestamps without a zone (spark.sql.timestampType = TIMESTAMP_NTZ).
-- Before: the view exported, of the rows of the export, and the table parameters (docs/recompute.md).

-- An instant as the events write it, in UTC.
CREATE OR REPLACE TEMPORARY FUNCTION instant(written STRING) RETURNS TIMESTAMP_NTZ
    RETURN CAST(CAST(written AS TIMESTAMP_LTZ) AS TIMESTAMP_NTZ);
-- The whole part of a quotient of integers that are not negative.
CREATE OR REPLACE TEMPORARY FUNCTION quotient(dividend DECIMAL(38, 0), divisor DECIMAL(38, 0)) RETURNS BIGINT
    RETURN CAST(dividend DIV divisor AS BIGINT);
-- The day of an instant in a time zone; at the end of the calendar the last one.
CREATE OR REPLACE TEMPORARY FUNCTION local_day(instant_utc TIMESTAMP_NTZ, zone STRING) RETURNS DATE
    RETURN least(CAST(convert_timezone('UTC', zone, instant_utc) AS DATE), DATE '9999-12-31');
-- Whole seconds and microseconds between two instants, as microseconds.
CREATE OR REPLACE TEMPORARY FUNCTION microseconds_between(earlier TIMESTAMP_NTZ, later TIMESTAMP_NTZ) RETURNS BIGINT
    RETURN unix_micros(CAST(later AS TIMESTAMP_LTZ)) - unix_micros(CAST(earlier AS TIMESTAMP_LTZ));
-- The lot that an adjustment opens, which is written whole where an accrual has its name only.
CREATE OR REPLACE TEMPORARY FUNCTION lot_written(written STRING)
    RETURNS STRUCT<lot: STRING, points: BIGINT, opened_at: STRING, available_at: STRING, expires_at: STRING>
    RETURN from_json(written, 'lot STRING, points BIGINT, opened_at STRING, available_at STRING, expires_at STRING');
-- The first day of a month.
CREATE OR REPLACE TEMPORARY FUNCTION month_of(day DATE) RETURNS DATE
    RETURN CAST(trunc(day, 'MONTH') AS DATE);

CREATE TEMPORARY VIEW events AS
SELECT journal, position, stream_version, topic, programme, member, CAST(occurred_at AS TIMESTAMP_NTZ) AS occurred_at,
    CAST(recorded_at AS TIMESTAMP_NTZ) AS recorded_at, source, id, state
FROM exported;

-- What events say: each of these views has the columns of events, and a struct said with the fields of its topics.

CREATE TEMPORARY VIEW said_programmes AS
SELECT * EXCEPT (state), from_json(state, 'time_zone STRING') AS said
FROM events WHERE topic = 'programme-created.v1';

CREATE TEMPORARY VIEW said_movements AS
SELECT * EXCEPT (state), from_json(state, 'points BIGINT, repaid BIGINT, due BIGINT, waived BIGINT, arrears BIGINT,
    arrears_written_off BIGINT, side STRING, policy STRING, terms INT, purchase STRING, purchase_source STRING,
    lot STRING, available_at STRING, expires_at STRING,
    lots ARRAY<STRUCT<lot STRING, points BIGINT, opened_at STRING, available_at STRING, expires_at STRING>>,
    allocations ARRAY<STRUCT<lot STRING, points BIGINT, available_at STRING, expires_at STRING>>,
    restored ARRAY<STRUCT<lot STRING, points BIGINT, available_at STRING, expires_at STRING>>,
    forfeited ARRAY<STRUCT<lot STRING, points BIGINT, available_at STRING, expires_at STRING>>') AS said
FROM events WHERE topic IN (
    'points-accrued.v1', 'points-redeemed.v1', 'redemption-reversed.v1', 'points-held.v1', 'hold-captured.v1',
    'hold-released.v1', 'points-expired.v1', 'points-clawed-back.v1', 'points-adjusted.v1', 'points-transferred-out.v1',
    'points-transferred-in.v1', 'members-merged.v1', 'merge-undone.v1', 'member-closed.v1', 'member-erased.v1');

CREATE TEMPORARY VIEW said_merges AS
SELECT * EXCEPT (state), from_json(state, 'side STRING, other STRING') AS said
FROM events WHERE topic IN ('members-merged.v1', 'merge-undone.v1');

CREATE TEMPORARY VIEW said_purchases AS
SELECT * EXCEPT (state, said),
    transform(said.lines, (line, number) -> named_struct('number', number, 'line', line)) AS lines, said
FROM (
    SELECT *, from_json(state, 'terms INT, channel STRING, store STRING, lines ARRAY<STRUCT<quantity BIGINT,
        amount_minor BIGINT, category STRING, cost_minor BIGINT, tax_minor BIGINT, discount_minor BIGINT,
        reward BOOLEAN>>') AS said
    FROM events WHERE topic = 'purchase-recorded.v1'
) AS decoded;

CREATE TEMPORARY VIEW said_returns AS
SELECT * EXCEPT (state), from_json(state, 'amount_minor BIGINT, terms INT,
    matches ARRAY<STRUCT<purchase STRING, purchase_source STRING, lines ARRAY<ARRAY<BIGINT>>, points_due BIGINT,
        cost_minor BIGINT>>,
    unmatched ARRAY<STRUCT<quantity BIGINT, amount_minor BIGINT>>, unmatched_points_due BIGINT') AS said
FROM events WHERE topic = 'purchase-returned.v1';

CREATE TEMPORARY VIEW said_costs AS
SELECT * EXCEPT (state), from_json(state, 'amount_minor BIGINT') AS said
FROM events WHERE topic = 'cost-attributed.v1';

CREATE TEMPORARY VIEW said_wallets AS
SELECT * EXCEPT (state), from_json(state, 'currency STRING, yearly_spend_minor BIGINT') AS said
FROM events WHERE topic = 'wallet-share-surveyed.v1';

CREATE TEMPORARY VIEW said_earnings AS
SELECT * EXCEPT (state, said), said,
    transform(said.weights, (weight, number) -> named_struct('number', number, 'weight', weight)) AS weights,
    transform(said.parts, (part, number) -> named_struct('number', number, 'part', part)) AS parts
FROM (
    SELECT *, from_json(state, 'lot STRING, points BIGINT, terms INT, purchase STRING, base_minor BIGINT,
        weights ARRAY<DECIMAL(38,0)>, scale DECIMAL(38,0), before_cap BIGINT, cap STRING, earned_on STRING,
        parts ARRAY<STRUCT<rules ARRAY<STRING>, base_minor BIGINT, rate STRING, multiplier STRING,
            lines ARRAY<INT>>>') AS said
    FROM events WHERE topic = 'points-accrued.v1'
) AS decoded;

CREATE TEMPORARY VIEW said_terms AS
SELECT * EXCEPT (state), from_json(state, 'version INT, document STRUCT<
    earning STRUCT<rate STRING, rounding STRING, stacking STRING,
        base STRUCT<include_categories ARRAY<STRING>, exclude_categories ARRAY<STRING>, tax STRING, discounts STRING,
            rewards STRING>,
        caps STRUCT<purchase BIGINT, day BIGINT, month BIGINT>,
        multipliers ARRAY<STRUCT<rule STRING, multiplier STRING>>>,
    returns STRUCT<policy STRING>>') AS said
FROM events WHERE topic = 'terms-published.v1';

CREATE TEMPORARY VIEW said_answers AS
SELECT * EXCEPT (state), from_json(state, 'instrument STRING, scale ARRAY<BIGINT>, touchpoint STRING, channel STRING,
    store STRING, weights MAP<STRING, BIGINT>') AS said
FROM events WHERE topic = 'survey-answered.v1';

-- The numbers among the answers, as they are written; texts are left out.
CREATE TEMPORARY VIEW survey_numbers AS
SELECT journal, position, entry.key AS question, CAST(entry.value AS STRING) AS number
FROM events, LATERAL variant_explode(parse_json(get_json_object(state, '$.answers'))) AS entry
WHERE topic = 'survey-answered.v1' AND schema_of_variant(entry.value) <> 'STRING';

CREATE TEMPORARY VIEW said_service AS
SELECT * EXCEPT (state), from_json(state, 'touchpoint STRING, channel STRING, store STRING, complaint STRING,
    opened_at STRING, follow_up STRING, due_at STRING') AS said
FROM events WHERE topic IN (
    'complaint-opened.v1', 'complaint-resolved.v1', 'follow-up-scheduled.v1', 'follow-up-completed.v1');
