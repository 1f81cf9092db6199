-- Read models of steering (objectives, corrective actions, budgets, focus audits) and of what is known of members.
-- The rows of steering are of a programme's first journal, where its steering is recorded; those of members of theirs.

CREATE TABLE objectives (                       -- one row a definition; the newest version is in force
    journal             integer     NOT NULL,
    objective           text        NOT NULL COLLATE "C",
    version             integer     NOT NULL,
    name                text        NOT NULL,
    comparator          text        NOT NULL,
    target              numeric     NOT NULL,
    unit                text        NOT NULL,
    direction           text        NOT NULL,
    period              text        NOT NULL,
    owner               text        NOT NULL,
    figure              text,                   -- of this ledger; NULL: measured by hand
    respond_within_days integer     NOT NULL,
    retired             boolean     NOT NULL,
    occurred_at         timestamptz NOT NULL,
    PRIMARY KEY (journal, objective, version)
);

CREATE TABLE objective_measurements (           -- the newest of each period
    journal     integer     NOT NULL,
    objective   text        NOT NULL COLLATE "C",
    period_on   date        NOT NULL,
    version     integer     NOT NULL,           -- of the definition that it was measured by
    value       numeric     NOT NULL,
    bound       text        NOT NULL,
    attained    boolean,
    sample      bigint,
    evidence    text        NOT NULL,
    source      text        NOT NULL,
    occurred_at timestamptz NOT NULL,
    PRIMARY KEY (journal, objective, period_on)
);

CREATE TABLE nonconformities (
    journal        integer     NOT NULL,
    nonconformity  text        NOT NULL COLLATE "C",
    what           text        NOT NULL,
    objective      text,
    period_on      date,
    step           text        NOT NULL CHECK (step IN ('find_cause', 'plan_action', 'act', 'closed')),
    owner          text,                        -- of the step; NULL in 'act', where each action has its own, and 'closed'
    due_on         date,
    cause          text,
    raised_at      timestamptz NOT NULL,
    closed_at      timestamptz,
    PRIMARY KEY (journal, nonconformity)
);

CREATE TABLE corrective_actions (
    journal       integer     NOT NULL,
    nonconformity text        NOT NULL COLLATE "C",
    action        text        NOT NULL COLLATE "C",
    what          text        NOT NULL,
    step          text        NOT NULL CHECK (step IN ('do', 'verify', 'effective', 'ineffective')),
    owner         text,                         -- of the step, while there is one
    due_on        date,
    planned_at    timestamptz NOT NULL,
    done_by       text,
    done_at       timestamptz,
    verified_by   text,
    verified_at   timestamptz,
    evidence      text        NOT NULL,         -- of the newest step
    PRIMARY KEY (journal, nonconformity, action)
);

CREATE TABLE budgets (                          -- one row a version; of the same days, the newest is in force
    journal     integer     NOT NULL,
    direction   text        NOT NULL,
    measure     text        NOT NULL,
    level       text        NOT NULL,
    who         text        NOT NULL COLLATE "C",
    from_on     date        NOT NULL,
    until_on    date        NOT NULL,           -- exclusive
    version     integer     NOT NULL,
    value       numeric     NOT NULL,
    occurred_at timestamptz NOT NULL,
    PRIMARY KEY (journal, direction, measure, level, who, from_on, until_on, version)
);

CREATE TABLE focus_assessments (
    journal     integer     NOT NULL,
    position    bigint      NOT NULL,
    factor      text        NOT NULL,
    segment     text        NOT NULL COLLATE "C",
    lowest      numeric     NOT NULL,           -- of the scale
    highest     numeric     NOT NULL,
    assessor    text        NOT NULL,
    occurred_at timestamptz NOT NULL,
    PRIMARY KEY (journal, position)
);

CREATE TABLE focus_items (
    journal  integer NOT NULL,
    position bigint  NOT NULL,                  -- of the assessment
    number   integer NOT NULL,                  -- in its order, from 1
    item     text    NOT NULL,
    score    numeric NOT NULL,
    evidence text    NOT NULL,
    PRIMARY KEY (journal, position, number)
);

CREATE TABLE member_profiles (                  -- one row an enrolled member: what is known of it, and since when
    journal       integer     NOT NULL,
    member        text        NOT NULL COLLATE "C",
    status        text        NOT NULL CHECK (status IN ('open', 'closed', 'erased', 'merged')),
    enrolled_at   timestamptz NOT NULL,
    personal_at   timestamptz,                  -- newest change of personal data; NULL: there is none
    attributes_at timestamptz,                  -- newest change of attributes
    PRIMARY KEY (journal, member)
);

CREATE TABLE member_attributes (
    journal   integer NOT NULL,
    member    text    NOT NULL COLLATE "C",
    attribute text    NOT NULL COLLATE "C",
    value     text    NOT NULL COLLATE "C",
    PRIMARY KEY (journal, member, attribute)
);
CREATE INDEX ON member_attributes (journal, attribute, value, member);  -- the members of a segment

GRANT SELECT, INSERT, UPDATE, DELETE ON objectives, objective_measurements, nonconformities, corrective_actions,
    budgets, focus_assessments, focus_items, member_profiles, member_attributes TO loyalty_writer;
GRANT SELECT ON objectives, objective_measurements, nonconformities, corrective_actions,
    budgets, focus_assessments, focus_items, member_profiles, member_attributes TO loyalty_reader;

-- For readers of the database: one plain view a read model, by the name of the programme.

CREATE SCHEMA IF NOT EXISTS loyalty_read;
GRANT USAGE ON SCHEMA loyalty_read TO loyalty_reader;

CREATE VIEW loyalty_read.objectives AS
SELECT j.name AS programme, o.objective, o.version,
    o.version = max(o.version) OVER (PARTITION BY o.journal, o.objective) AS current,
    o.name, o.comparator, o.target, o.unit, o.direction, o.period, o.owner, o.figure, o.respond_within_days, o.retired,
    o.occurred_at AS defined_at
FROM objectives o JOIN journals j USING (journal);
COMMENT ON VIEW loyalty_read.objectives IS 'Quality objectives, one row a version of a definition.';
COMMENT ON COLUMN loyalty_read.objectives.current IS 'The newest version, which is in force.';
COMMENT ON COLUMN loyalty_read.objectives.target IS 'Attained where the value of a period is comparator target, in unit.';
COMMENT ON COLUMN loyalty_read.objectives.direction IS 'Which way is better: up or down.';
COMMENT ON COLUMN loyalty_read.objectives.figure IS 'The figure of this ledger it is bound to; NULL: measured by hand.';

CREATE VIEW loyalty_read.objective_measurements AS
SELECT j.name AS programme, m.objective, m.period_on, m.version, m.value, m.bound, m.attained, m.sample, m.evidence,
    m.source, m.occurred_at AS measured_at
FROM objective_measurements m JOIN journals j USING (journal);
COMMENT ON VIEW loyalty_read.objective_measurements IS 'The newest measurement of each period of an objective.';
COMMENT ON COLUMN loyalty_read.objective_measurements.period_on IS 'The first day of the period.';
COMMENT ON COLUMN loyalty_read.objective_measurements.version IS 'Of the definition that it was measured by.';
COMMENT ON COLUMN loyalty_read.objective_measurements.bound IS 'Empty: value is the value; else only this bound of it is known, such as >.';
COMMENT ON COLUMN loyalty_read.objective_measurements.attained IS 'NULL where a bound cannot tell.';
COMMENT ON COLUMN loyalty_read.objective_measurements.sample IS 'On how many observations the value rests; NULL: not said.';

CREATE VIEW loyalty_read.nonconformities AS
SELECT j.name AS programme, n.nonconformity, n.what, n.objective, n.period_on, n.step, n.owner, n.due_on, n.cause,
    n.raised_at, n.closed_at
FROM nonconformities n JOIN journals j USING (journal);
COMMENT ON VIEW loyalty_read.nonconformities IS 'Nonconformities and their next step: find_cause, plan_action, act (see corrective_actions), closed.';
COMMENT ON COLUMN loyalty_read.nonconformities.owner IS 'Of the step; NULL in act, where every action has an owner and a due date of its own.';

CREATE VIEW loyalty_read.corrective_actions AS
SELECT j.name AS programme, a.nonconformity, a.action, a.what, a.step, a.owner, a.due_on, a.planned_at, a.done_by,
    a.done_at, a.verified_by, a.verified_at, a.evidence
FROM corrective_actions a JOIN journals j USING (journal);
COMMENT ON VIEW loyalty_read.corrective_actions IS 'Corrective actions and their next step: do, verify; or their end: effective, ineffective.';

CREATE VIEW loyalty_read.budgets AS
SELECT j.name AS programme, b.direction, b.measure, b.level, b.who, b.from_on, b.until_on, b.version,
    b.version = max(b.version) OVER (PARTITION BY b.journal, b.direction, b.measure, b.level, b.who, b.from_on, b.until_on)
        AS current,
    b.value, b.occurred_at AS set_at
FROM budgets b JOIN journals j USING (journal);
COMMENT ON VIEW loyalty_read.budgets IS 'Budgets of the programme, of segments and of members, one row a version.';
COMMENT ON COLUMN loyalty_read.budgets.who IS 'Empty: the programme; attribute=value: a segment; else the member.';
COMMENT ON COLUMN loyalty_read.budgets.until_on IS 'The first day after the last.';
COMMENT ON COLUMN loyalty_read.budgets.value IS 'Minor units of revenue or profit; an index from 0 to 100 of satisfaction; purchases of activity.';

CREATE VIEW loyalty_read.focus_assessments AS
SELECT j.name AS programme, f.position, f.factor, f.segment, f.assessor, f.occurred_at AS assessed_at, f.lowest,
    f.highest, i.number, i.item, i.score, i.evidence,
    round(100.0 * (i.score - f.lowest) / (f.highest - f.lowest), 2) AS index
FROM focus_assessments f
JOIN focus_items i ON i.journal = f.journal AND i.position = f.position
JOIN journals j ON j.journal = f.journal;
COMMENT ON VIEW loyalty_read.focus_assessments IS 'Focus audits, one row an item; those of one position are one audit, its score the mean of their index.';
COMMENT ON COLUMN loyalty_read.focus_assessments.segment IS 'Empty: of the programme; else attribute=value.';
COMMENT ON COLUMN loyalty_read.focus_assessments.index IS 'The score of the item on 0 to 100: its distance from the lowest of the scale.';

CREATE VIEW loyalty_read.member_attributes AS
SELECT j.name AS programme, a.member, a.attribute, a.value
FROM member_attributes a JOIN journals j USING (journal);
COMMENT ON VIEW loyalty_read.member_attributes IS 'The attributes of members as they stand; the segment attribute=value is the members that have it.';

CREATE VIEW loyalty_read.member_profiles AS
SELECT j.name AS programme, p.member, p.status, p.enrolled_at, p.personal_at, p.attributes_at
FROM member_profiles p JOIN journals j USING (journal);
COMMENT ON VIEW loyalty_read.member_profiles IS 'Since when what is known of a member is known; the personal data themselves are sealed.';
COMMENT ON COLUMN loyalty_read.member_profiles.personal_at IS 'The newest change of personal data; NULL: there is none, or it was erased.';

GRANT SELECT ON loyalty_read.objectives, loyalty_read.objective_measurements, loyalty_read.nonconformities,
    loyalty_read.corrective_actions, loyalty_read.budgets, loyalty_read.focus_assessments,
    loyalty_read.member_attributes, loyalty_read.member_profiles TO loyalty_reader;
