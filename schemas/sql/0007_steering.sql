-- Surveys as writers look them up, and a counter by which each writer notices that the terms or surveys are others.

CREATE TABLE surveys (                          -- every version, as the log has it
    programme  text        NOT NULL COLLATE "C" REFERENCES programmes (programme),
    survey     text        NOT NULL COLLATE "C",
    version    integer     NOT NULL CHECK (version > 0),
    defined_at timestamptz NOT NULL,            -- business time: answers from then on fit it
    instrument text        NOT NULL,
    lowest     bigint      NOT NULL,
    highest    bigint      NOT NULL,
    questions  text[]      NOT NULL,
    weights    bigint[]    NOT NULL,            -- one for each question, or none: equal
    PRIMARY KEY (programme, survey, version)
);

ALTER TABLE programmes                          -- how many versions of terms and surveys there are, all together
    ADD COLUMN revision bigint NOT NULL DEFAULT 0 CHECK (revision >= 0);
UPDATE programmes SET revision = terms_versions;

GRANT SELECT, INSERT ON surveys TO loyalty_writer;
GRANT UPDATE (revision) ON programmes TO loyalty_writer;
GRANT SELECT ON surveys TO loyalty_reader;
