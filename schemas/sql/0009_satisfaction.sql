-- Read models of satisfaction, filled by a projection from the log alone; they can be dropped and rebuilt at any time.
-- Days are those of the programme's time zone. Sums are exact: integers, and numerics.

CREATE TABLE survey_answers (                   -- every answer, as it was given
    journal     integer     NOT NULL,
    member      text        NOT NULL COLLATE "C",
    position    bigint      NOT NULL,
    day         date        NOT NULL,
    occurred_at timestamptz NOT NULL,
    instrument  text        NOT NULL COLLATE "C",
    survey      text        COLLATE "C",        -- the defined survey that it answers
    score       numeric,                        -- on its own scale, an ACSI index from 0 to 100; null: cannot be scored
    satisfied   boolean,                        -- by the instrument's own rule; null: cannot be scored
    weighted    boolean     NOT NULL,           -- scored with the weights of the defined survey
    lowest      numeric     NOT NULL,           -- of the scale; a whole number of any size
    highest     numeric     NOT NULL,
    answers     json        NOT NULL,           -- by question, as given
    touchpoint  text        NOT NULL COLLATE "C",
    channel     text        NOT NULL COLLATE "C",
    store       text        NOT NULL COLLATE "C",
    purchase    text,
    PRIMARY KEY (journal, member, position)
);

CREATE TABLE latest_answers (                   -- the newest answer of a member that has a score, by business time
    journal     integer     NOT NULL,
    member      text        NOT NULL COLLATE "C",
    instrument  text        NOT NULL COLLATE "C",
    position    bigint      NOT NULL,
    day         date        NOT NULL,
    occurred_at timestamptz NOT NULL,
    score       numeric     NOT NULL,
    satisfied   boolean     NOT NULL,
    lowest      numeric     NOT NULL,
    highest     numeric     NOT NULL,
    PRIMARY KEY (journal, member, instrument)
);

CREATE TABLE satisfaction_days (                -- answers a day, of the programme and by each channel, store, touchpoint
    journal    integer NOT NULL,
    per        text    NOT NULL COLLATE "C" CHECK (per IN ('programme', 'channel', 'store', 'touchpoint')),
    value      text    NOT NULL COLLATE "C",    -- of the channel and so on; empty where none was named
    day        date    NOT NULL,
    instrument text    NOT NULL COLLATE "C",
    lowest     numeric NOT NULL,
    highest    numeric NOT NULL,
    answers    bigint  NOT NULL,
    scored     bigint  NOT NULL,
    promoters  bigint  NOT NULL,                -- of NPS
    detractors bigint  NOT NULL,                -- of NPS
    satisfied  bigint  NOT NULL,
    weighted   bigint  NOT NULL,                -- scored with the weights of a defined survey
    score_sum  numeric NOT NULL,                -- of scores, each on its own scale (ACSI: 0 to 100)
    score_squares numeric NOT NULL,             -- of their squares
    PRIMARY KEY (journal, per, value, day, instrument, lowest, highest)
);

CREATE TABLE service_days (                     -- complaints, follow-ups and purchases a day, likewise
    journal            integer NOT NULL,
    per                text    NOT NULL COLLATE "C" CHECK (per IN ('programme', 'channel', 'store', 'touchpoint')),
    value              text    NOT NULL COLLATE "C",
    day                date    NOT NULL,
    purchases          bigint  NOT NULL,
    complaints         bigint  NOT NULL,        -- opened on the day
    resolved           bigint  NOT NULL,        -- on the day, whenever they were opened
    resolution_seconds numeric NOT NULL,        -- from opening to resolution, of those resolved on the day
    follow_ups         bigint  NOT NULL,        -- due on the day
    follow_ups_in_time bigint  NOT NULL,        -- of them, completed by the instant they were due
    follow_ups_late    bigint  NOT NULL,        -- of them, completed later
    PRIMARY KEY (journal, per, value, day)
);

CREATE TABLE complaints (
    journal      integer     NOT NULL,
    member       text        NOT NULL COLLATE "C",
    complaint    text        NOT NULL COLLATE "C",
    position     bigint      NOT NULL,          -- of its opening: two sources may give the same id
    source       text        NOT NULL,
    category     text        NOT NULL,
    touchpoint   text        NOT NULL COLLATE "C",
    channel      text        NOT NULL COLLATE "C",
    store        text        NOT NULL COLLATE "C",
    purchase     text,
    opened_at    timestamptz NOT NULL,
    opened_day   date        NOT NULL,
    resolved_at  timestamptz,
    resolved_day date,
    outcome      text,
    PRIMARY KEY (journal, member, complaint, position)
);

CREATE INDEX ON complaints (journal, resolved_day) WHERE resolved_day IS NOT NULL;

CREATE TABLE follow_ups (
    journal       integer     NOT NULL,
    member        text        NOT NULL COLLATE "C",
    follow_up     text        NOT NULL COLLATE "C",
    position      bigint      NOT NULL,         -- of its scheduling: two sources may give the same id
    source        text        NOT NULL,
    reason        text        NOT NULL,
    touchpoint    text        NOT NULL COLLATE "C",
    channel       text        NOT NULL COLLATE "C",
    scheduled_at  timestamptz NOT NULL,
    due_at        timestamptz NOT NULL,
    due_day       date        NOT NULL,
    completed_at  timestamptz,
    completed_day date,
    outcome       text,
    PRIMARY KEY (journal, member, follow_up, position)
);

CREATE INDEX ON follow_ups (journal, completed_day) WHERE completed_at > due_at;

CREATE TABLE satisfaction_members (             -- who a member is now, and when it last bought
    journal          integer     NOT NULL,
    member           text        NOT NULL COLLATE "C",
    status           text        NOT NULL CHECK (status IN ('unknown', 'open', 'closed', 'erased', 'merged')),
    ended_at         timestamptz,               -- of a closure or erasure
    merged_into      text        COLLATE "C",   -- kept when it is erased: that merge cannot be undone
    last_purchase_at timestamptz,
    PRIMARY KEY (journal, member)
);

CREATE INDEX ON satisfaction_members (journal, merged_into) WHERE merged_into IS NOT NULL;

CREATE TABLE baselines (                        -- every version of the limits of a control chart
    journal    integer     NOT NULL,
    chart      text        NOT NULL COLLATE "C",
    version    integer     NOT NULL,
    kind       text        NOT NULL,
    figure     text        NOT NULL,
    period     text        NOT NULL,
    per        text        NOT NULL,            -- programme, channel, store or touchpoint
    value      text        NOT NULL,            -- of the channel and so on; empty for the programme
    from_on    date        NOT NULL,
    until_on   date        NOT NULL,            -- exclusive
    points     integer     NOT NULL,
    centre     numeric     NOT NULL,
    sigma      numeric,                         -- null: it follows from the centre
    frozen_at  timestamptz NOT NULL,
    PRIMARY KEY (journal, chart, version)
);

GRANT SELECT, INSERT, UPDATE, DELETE ON survey_answers, latest_answers, satisfaction_days, service_days, complaints,
    follow_ups, satisfaction_members, baselines TO loyalty_writer;
GRANT SELECT ON survey_answers, latest_answers, satisfaction_days, service_days, complaints, follow_ups,
    satisfaction_members, baselines TO loyalty_reader;

-- What readers see: a plain view a read model, with the programme in the place of the journal.

CREATE SCHEMA IF NOT EXISTS loyalty_read;
GRANT USAGE ON SCHEMA loyalty_read TO loyalty_reader;

CREATE VIEW loyalty_read.survey_answers AS
SELECT name AS programme, member, day, occurred_at, instrument, survey, score, satisfied, weighted, lowest, highest,
    answers, touchpoint, channel, store, purchase, journal, survey_answers.position
FROM survey_answers JOIN journals USING (journal);
COMMENT ON VIEW loyalty_read.survey_answers IS 'Answers to surveys, one row each, as they were given.';
COMMENT ON COLUMN loyalty_read.survey_answers.day IS 'The day of the answer in the time zone of the programme.';
COMMENT ON COLUMN loyalty_read.survey_answers.score IS
    'On the scale of the answer; of an ACSI answer its index from 0 to 100. Null: it cannot be scored.';
COMMENT ON COLUMN loyalty_read.survey_answers.satisfied IS 'By the rule of the instrument. Null: it cannot be scored.';
COMMENT ON COLUMN loyalty_read.survey_answers.answers IS 'The answers by question, as given (JSON).';

CREATE VIEW loyalty_read.latest_answers AS
SELECT name AS programme, member, instrument, score, satisfied, lowest, highest, day, occurred_at, journal,
    latest_answers.position
FROM latest_answers JOIN journals USING (journal);
COMMENT ON VIEW loyalty_read.latest_answers IS
    'The newest answer of each member to each instrument that has a score. Merged members keep theirs.';

CREATE VIEW loyalty_read.satisfaction_days AS
SELECT name AS programme, per, value, day, instrument, lowest, highest, sum(answers)::bigint AS answers,
    sum(scored)::bigint AS scored, sum(promoters)::bigint AS promoters, sum(detractors)::bigint AS detractors,
    sum(satisfied)::bigint AS satisfied, sum(weighted)::bigint AS weighted, sum(score_sum) AS score_sum,
    sum(score_squares) AS score_squares
FROM satisfaction_days JOIN journals USING (journal)
GROUP BY name, per, value, day, instrument, lowest, highest;
COMMENT ON VIEW loyalty_read.satisfaction_days IS
    'Answers a day, of the programme (per = programme, value empty) and by each channel, store and touchpoint.';
COMMENT ON COLUMN loyalty_read.satisfaction_days.answers IS 'All answers; scored: those that can be scored.';
COMMENT ON COLUMN loyalty_read.satisfaction_days.score_sum IS
    'Sum of the scores, each on the scale from lowest to highest (ACSI: from 0 to 100).';

CREATE VIEW loyalty_read.service_days AS
SELECT name AS programme, per, value, day, sum(purchases)::bigint AS purchases, sum(complaints)::bigint AS complaints,
    sum(resolved)::bigint AS resolved, sum(resolution_seconds) AS resolution_seconds,
    sum(follow_ups)::bigint AS follow_ups, sum(follow_ups_in_time)::bigint AS follow_ups_in_time,
    sum(follow_ups_late)::bigint AS follow_ups_late
FROM service_days JOIN journals USING (journal)
GROUP BY name, per, value, day;
COMMENT ON VIEW loyalty_read.service_days IS
    'Purchases, complaints and follow-ups a day, of the programme and by each channel, store and touchpoint.';
COMMENT ON COLUMN loyalty_read.service_days.complaints IS 'Opened on the day; resolved: resolved on the day.';
COMMENT ON COLUMN loyalty_read.service_days.follow_ups IS
    'Due on the day; of them follow_ups_in_time were completed by then, follow_ups_late later.';

CREATE VIEW loyalty_read.complaints AS
SELECT name AS programme, member, complaint, source, category, touchpoint, channel, store, purchase, opened_at,
    opened_day, resolved_at, resolved_day, extract(epoch FROM resolved_at - opened_at) AS resolution_seconds, outcome
FROM complaints JOIN journals USING (journal);
COMMENT ON VIEW loyalty_read.complaints IS 'Complaints; not resolved yet where resolved_at is null.';

CREATE VIEW loyalty_read.follow_ups AS
SELECT name AS programme, member, follow_up, source, reason, touchpoint, channel, scheduled_at, due_at, due_day,
    completed_at, completed_day, completed_at <= due_at AS in_time, outcome
FROM follow_ups JOIN journals USING (journal);
COMMENT ON VIEW loyalty_read.follow_ups IS 'Follow-ups that were promised; not completed yet where completed_at is null.';

CREATE VIEW loyalty_read.baselines AS
SELECT name AS programme, chart, version, baselines.kind, figure, period, per, value, from_on, until_on, points, centre, sigma,
    frozen_at
FROM baselines JOIN journals USING (journal);
COMMENT ON VIEW loyalty_read.baselines IS 'The frozen limits of control charts, every version of them.';
COMMENT ON COLUMN loyalty_read.baselines.until_on IS 'Exclusive; the chart judges periods that begin on or after it.';

GRANT SELECT ON loyalty_read.survey_answers, loyalty_read.latest_answers, loyalty_read.satisfaction_days,
    loyalty_read.service_days, loyalty_read.complaints, loyalty_read.follow_ups, loyalty_read.baselines
    TO loyalty_reader;
