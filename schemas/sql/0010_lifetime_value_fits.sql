-- Fits of the models of expected lifetime value: one row a fit, in versions, never changed. They are conclusions drawn from
-- a read model at an instant, not a fold of the log, so a rebuild leaves them alone.

CREATE TABLE lifetime_value_fits (
    programme                  text             NOT NULL COLLATE "C" REFERENCES programmes (programme),
    version                    integer          NOT NULL CHECK (version > 0),
    fitted_at                  timestamptz      NOT NULL DEFAULT clock_timestamp(),
    as_of                      date             NOT NULL,   -- the business day to which customers were observed
    months                     double precision NOT NULL,   -- of data: from the first purchase of all to as_of
    members                    bigint           NOT NULL,   -- with a purchase; merged ones are one
    repeaters                  bigint           NOT NULL,   -- with purchases on two days or more
    spenders                   bigint           NOT NULL,   -- repeaters whose repeat purchases have a value above 0
    time_unit                  text             NOT NULL CHECK (time_unit = 'week'),
    method                     text             NOT NULL,
    purchases_converged        boolean          NOT NULL,
    purchases_message          text             NOT NULL,
    purchases_log_likelihood   double precision NOT NULL,
    r                          double precision NOT NULL,   -- where not converged: only where the search ended
    alpha                      double precision NOT NULL,
    a                          double precision NOT NULL,
    b                          double precision NOT NULL,
    r_se                       double precision,            -- standard errors; null where not converged
    alpha_se                   double precision,
    a_se                       double precision,
    b_se                       double precision,
    value_converged            boolean          NOT NULL,
    value_message              text             NOT NULL,
    value_log_likelihood       double precision NOT NULL,
    p                          double precision NOT NULL,
    q                          double precision NOT NULL,
    v                          double precision NOT NULL,   -- in minor units of the programme's currency
    p_se                       double precision,
    q_se                       double precision,
    v_se                       double precision,
    margin                     double precision,            -- profit by net revenue, where all costs are known; null: unknown
    margin_members             bigint           NOT NULL,   -- members whose costs are all known
    PRIMARY KEY (programme, version),
    CHECK (purchases_converged = (r_se IS NOT NULL AND alpha_se IS NOT NULL AND a_se IS NOT NULL AND b_se IS NOT NULL)),
    CHECK (value_converged = (p_se IS NOT NULL AND q_se IS NOT NULL AND v_se IS NOT NULL))
);

CREATE TRIGGER lifetime_value_fits_are_never_changed BEFORE UPDATE OR DELETE OR TRUNCATE ON lifetime_value_fits
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
ALTER TABLE lifetime_value_fits ENABLE ALWAYS TRIGGER lifetime_value_fits_are_never_changed;

GRANT SELECT, INSERT ON lifetime_value_fits TO loyalty_writer;
GRANT SELECT ON lifetime_value_fits TO loyalty_reader;

CREATE SCHEMA IF NOT EXISTS loyalty_read;
GRANT USAGE ON SCHEMA loyalty_read TO loyalty_reader;

CREATE VIEW loyalty_read.lifetime_value_fits AS SELECT * FROM lifetime_value_fits;
GRANT SELECT ON loyalty_read.lifetime_value_fits TO loyalty_reader;

COMMENT ON VIEW loyalty_read.lifetime_value_fits IS
    'Fits of the BG/NBD and Gamma-Gamma models of expected lifetime value, one row a fit; docs/statistics.md says what they mean.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.programme IS 'Programme.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.version IS 'Number of the fit within the programme, from 1.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.fitted_at IS 'When it was fitted.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.as_of IS 'Business day to which customers were observed, inclusive.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.months IS 'Months of data: from the first purchase of all to as_of.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.members IS 'Members with a purchase; merged ones are one.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.repeaters IS 'Members with purchases on two days or more.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.spenders IS 'Repeaters whose repeat purchases have a value above 0: the Gamma-Gamma model is fitted on them.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.time_unit IS 'Unit of alpha.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.method IS 'How parameters and standard errors were found.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.purchases_converged IS 'Whether r, alpha, a and b are a maximum of the likelihood; if not, they are only where the search ended.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.purchases_message IS 'How the search for r, alpha, a and b ended.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.purchases_log_likelihood IS 'Log-likelihood of the BG/NBD model.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.r IS 'BG/NBD: shape of the purchase rates.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.alpha IS 'BG/NBD: scale of the purchase rates, in time_unit.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.a IS 'BG/NBD: first parameter of the probability to leave after a purchase.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.b IS 'BG/NBD: second parameter of the probability to leave after a purchase.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.r_se IS 'Standard error of r.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.alpha_se IS 'Standard error of alpha.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.a_se IS 'Standard error of a.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.b_se IS 'Standard error of b.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.value_converged IS 'Whether p, q and v are a maximum of the likelihood; if not, they are only where the search ended.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.value_message IS 'How the search for p, q and v ended.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.value_log_likelihood IS 'Log-likelihood of the Gamma-Gamma model.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.p IS 'Gamma-Gamma: shape of the values of one customer.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.q IS 'Gamma-Gamma: shape of the rates over customers.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.v IS 'Gamma-Gamma: scale of the rates over customers, in minor units of the currency.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.p_se IS 'Standard error of p.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.q_se IS 'Standard error of q.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.v_se IS 'Standard error of v.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.margin IS 'Profit by net revenue of the members whose costs are all known; null: unknown.';
COMMENT ON COLUMN loyalty_read.lifetime_value_fits.margin_members IS 'Members whose costs are all known.';
