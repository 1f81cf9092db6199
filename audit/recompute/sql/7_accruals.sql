-- Accruals of purchases, executed again: the lines of the purchase under the terms version that the accrual names give
-- its bases, the rules that it names their multipliers, both the weights, and these the points, which caps may cut.
-- Every finding of an accrual is a row; which conditions of rules held is taken as recorded.

CREATE TEMPORARY VIEW terms AS
SELECT programme, said.version AS version, said.document.earning AS earning, said.document.earning.base AS base,
    said.document.earning.caps AS caps, coalesce(said.document.earning.rounding, 'floor_per_purchase') AS rounding,
    coalesce(said.document.earning.stacking, 'multiply') AS stacking,
    coalesce(said.document.returns.policy, 'within_balance') AS policy
FROM said_terms;

-- Numbers of terms and of accruals are "3", "0.01", "3/2", {"numerator": 3, "denominator": 2} or
-- {"points": 1, "per_minor": 100}: all as a fraction.
CREATE TEMPORARY VIEW written_numbers AS
SELECT programme, version, '' AS rule, earning.rate AS written FROM terms
UNION ALL
SELECT programme, version, one.rule, one.multiplier
FROM (SELECT programme, version, explode(earning.multipliers) AS one FROM terms) AS multipliers;

CREATE TEMPORARY VIEW written_fractions AS
SELECT programme, version, rule, CASE
    WHEN written LIKE '{%' THEN concat(
        coalesce(get_json_object(written, '$.numerator'), get_json_object(written, '$.points')), '/',
        coalesce(get_json_object(written, '$.denominator'), get_json_object(written, '$.per_minor')))
    WHEN written LIKE '%.%' THEN concat(
        replace(written, '.', ''), '/1', repeat('0', length(split_part(written, '.', 2))))
    ELSE concat(written, '/1') END AS fraction
FROM written_numbers;

CREATE TABLE term_numbers AS
SELECT programme, version, rule, CAST(split_part(fraction, '/', 1) AS DECIMAL(19, 0)) AS numerator,
    CAST(split_part(fraction, '/', 2) AS DECIMAL(19, 0)) AS denominator
FROM written_fractions;

-- The accruals of purchases as they are written, and then the purchase and the terms of each.
CREATE TABLE purchase_accruals AS
SELECT * FROM said_earnings WHERE said.purchase IS NOT NULL;

CREATE TABLE earnings AS
SELECT earned.journal, earned.position, earned.programme, earned.member, earned.source, earned.id,
    earned.said.purchase AS purchase, earned.said.lot AS lot, earned.said.points AS points,
    earned.said.terms AS terms, coalesce(earned.said.base_minor, 0) AS base_minor,
    coalesce(earned.said.scale, 1) AS scale, coalesce(earned.said.before_cap, earned.said.points) AS before_cap,
    CAST(earned.said.earned_on AS DATE) AS earned_on, purchases.position AS purchase_position,
    terms.rounding AS rounding, terms.stacking AS stacking, terms.caps.purchase AS cap_purchase,
    terms.caps.day AS cap_day, terms.caps.month AS cap_month, terms.version AS version
FROM purchase_accruals AS earned
LEFT JOIN purchases ON purchases.journal = earned.journal AND purchases.member = earned.member
    AND purchases.source = earned.source AND purchases.id = earned.said.purchase
LEFT JOIN terms ON terms.programme = earned.programme AND terms.version = earned.said.terms;

CREATE TEMPORARY VIEW earning_weights AS
SELECT journal, position, one.number AS number, one.weight AS weight
FROM (SELECT journal, position, explode(weights) AS one FROM purchase_accruals) AS weights;

CREATE TEMPORARY VIEW earning_parts AS
SELECT journal, position, one.number AS part, one.part.rules AS rules, one.part.base_minor AS base_minor,
    one.part.lines AS lines, one.part.rate AS rate, coalesce(one.part.multiplier, '1') AS multiplier
FROM (SELECT journal, position, explode(parts) AS one FROM purchase_accruals) AS parts;

CREATE TABLE part_numbers AS
SELECT journal, position, part, base_minor, lines IS NULL AS is_every_line,
    CAST(split_part(rate, '/', 1) AS DECIMAL(19, 0)) AS rate_numerator,
    CAST(coalesce(nullif(split_part(concat(rate, '/1'), '/', 2), ''), '1') AS DECIMAL(19, 0)) AS rate_denominator,
    CAST(split_part(multiplier, '/', 1) AS DECIMAL(19, 0)) AS multiplier_numerator,
    CAST(coalesce(nullif(split_part(concat(multiplier, '/1'), '/', 2), ''), '1') AS DECIMAL(19, 0))
        AS multiplier_denominator
FROM earning_parts;

CREATE TEMPORARY VIEW part_lines AS
SELECT journal, position, part, explode(lines) AS number FROM earning_parts;

CREATE TEMPORARY VIEW part_rules AS
SELECT journal, position, part, explode(rules) AS rule FROM earning_parts;

-- What each line of the purchase earns on.
CREATE TABLE earning_lines AS
SELECT earnings.journal, earnings.position, lines.number, CAST(CASE
        WHEN lines.reward AND coalesce(terms.base.rewards, 'exclude') = 'exclude' THEN 0
        WHEN terms.base.include_categories IS NOT NULL
            AND NOT array_contains(terms.base.include_categories, lines.category) THEN 0
        WHEN coalesce(array_contains(terms.base.exclude_categories, lines.category), FALSE) THEN 0
        ELSE greatest(0, lines.amount_minor
            - CASE WHEN coalesce(terms.base.tax, 'exclude') = 'exclude' THEN lines.tax_minor ELSE 0 END
            + CASE WHEN coalesce(terms.base.discounts, 'after') = 'before' THEN lines.discount_minor ELSE 0 END)
    END AS BIGINT) AS base_minor, coalesce(weights.weight, 0) AS weight
FROM earnings
JOIN terms ON terms.programme = earnings.programme AND terms.version = earnings.terms
JOIN purchase_lines AS lines ON lines.journal = earnings.journal AND lines.position = earnings.purchase_position
LEFT JOIN earning_weights AS weights ON weights.journal = earnings.journal AND weights.position = earnings.position
    AND weights.number = lines.number;

-- Lines and the part by which each earned; a part that names no lines is every line.
CREATE TEMPORARY VIEW parted_lines AS
SELECT lines.journal, lines.position, lines.number, parts.part
FROM earning_lines AS lines
JOIN part_numbers AS parts ON parts.journal = lines.journal AND parts.position = lines.position
LEFT JOIN part_lines ON part_lines.journal = parts.journal AND part_lines.position = parts.position
    AND part_lines.part = parts.part AND part_lines.number = lines.number
WHERE parts.is_every_line OR part_lines.number IS NOT NULL;

CREATE TABLE line_weights AS
SELECT journal, position, number, weight, base_minor, part, rounding, scale,
    CAST(base_minor AS DECIMAL(38, 0)) * rate_numerator * multiplier_numerator AS numerator,
    CAST(rate_denominator AS DECIMAL(38, 0)) * multiplier_denominator AS denominator
FROM (
    SELECT lines.*, parted.part, earnings.rounding, earnings.scale, coalesce(parts.rate_numerator, 0) AS rate_numerator,
        coalesce(parts.rate_denominator, 1) AS rate_denominator,
        coalesce(parts.multiplier_numerator, 0) AS multiplier_numerator,
        coalesce(parts.multiplier_denominator, 1) AS multiplier_denominator
    FROM earning_lines AS lines
    JOIN earnings ON earnings.journal = lines.journal AND earnings.position = lines.position
    LEFT JOIN parted_lines AS parted ON parted.journal = lines.journal AND parted.position = lines.position
        AND parted.number = lines.number
    LEFT JOIN part_numbers AS parts ON parts.journal = parted.journal AND parts.position = parted.position
        AND parts.part = parted.part
) AS numbers;

-- Points before caps, from the weights; what earlier purchases left of the caps of the day and of the month.
CREATE TABLE earned_points AS
SELECT earnings.*, sums.weight, CASE
        WHEN rounding LIKE 'half_up%' THEN quotient(2 * sums.weight + scale, 2 * scale)
        ELSE quotient(sums.weight, scale) END AS expected_before_cap,
    coalesce(sum(CASE WHEN earned_on IS NOT NULL THEN points ELSE 0 END) OVER (
        PARTITION BY earnings.journal, member, earned_on ORDER BY earnings.position
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS earned_before_in_day,
    coalesce(sum(CASE WHEN earned_on IS NOT NULL THEN points ELSE 0 END) OVER (
        PARTITION BY earnings.journal, member, month_of(earned_on) ORDER BY earnings.position
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS earned_before_in_month
FROM earnings
LEFT JOIN (SELECT journal, position, sum(weight) AS weight FROM earning_lines GROUP BY journal, position) AS sums
    ON sums.journal = earnings.journal AND sums.position = earnings.position;

CREATE TABLE found_in_accruals AS
SELECT 'accrual' AS finding, journal, position, member, 'the terms version is not in the log' AS what,
    'a document' AS expected, CAST(terms AS STRING) AS recorded
FROM earnings WHERE version IS NULL
UNION ALL
SELECT 'accrual', journal, position, member, concat('its purchase is not recorded: ', purchase), purchase, NULL
FROM earnings WHERE purchase_position IS NULL
UNION ALL
SELECT 'accrual', parts.journal, parts.position, earnings.member, 'rate of the terms',
    concat(CAST(rate.numerator AS STRING), '/', CAST(rate.denominator AS STRING)),
    concat(CAST(parts.rate_numerator AS STRING), '/', CAST(parts.rate_denominator AS STRING))
FROM part_numbers AS parts
JOIN earnings ON earnings.journal = parts.journal AND earnings.position = parts.position
JOIN term_numbers AS rate ON rate.programme = earnings.programme AND rate.version = earnings.terms AND rate.rule = ''
WHERE rate.numerator * parts.rate_denominator <> rate.denominator * parts.rate_numerator
UNION ALL
SELECT 'accrual', found.journal, found.position, found.member, 'multiplier of the rules named',
    CAST(found.expected AS STRING), CAST(found.recorded AS STRING)
FROM (
    SELECT parts.journal, parts.position, earnings.member,
        CAST(parts.multiplier_numerator AS DOUBLE) / CAST(parts.multiplier_denominator AS DOUBLE) AS recorded,
        CASE WHEN max(earnings.stacking) = 'add' AND count(named.rule) > 1
            THEN greatest(0.0, 1 + sum(CAST(named.numerator AS DOUBLE) / CAST(named.denominator AS DOUBLE) - 1))
            ELSE coalesce(exp(sum(ln(CAST(named.numerator AS DOUBLE) / CAST(named.denominator AS DOUBLE)))), 1.0)
            END AS expected
    FROM part_numbers AS parts
    JOIN earnings ON earnings.journal = parts.journal AND earnings.position = parts.position
    LEFT JOIN part_rules ON part_rules.journal = parts.journal AND part_rules.position = parts.position
        AND part_rules.part = parts.part
    LEFT JOIN term_numbers AS named ON named.programme = earnings.programme AND named.version = earnings.terms
        AND named.rule = part_rules.rule AND named.rule <> ''
    WHERE earnings.version IS NOT NULL
    GROUP BY parts.journal, parts.position, parts.part, earnings.member, parts.multiplier_numerator,
        parts.multiplier_denominator
) AS found
WHERE abs(found.expected - found.recorded) > 1e-12 * (found.expected + found.recorded)
UNION ALL
SELECT 'accrual', lines.journal, lines.position, earnings.member,
    concat('weight of line ', CAST(lines.number AS STRING), ' over the scale'),
    concat(CAST(lines.numerator AS STRING), '/', CAST(lines.denominator AS STRING)),
    concat(CAST(lines.weight AS STRING), '/', CAST(lines.scale AS STRING))
FROM line_weights AS lines
JOIN earnings ON earnings.journal = lines.journal AND earnings.position = lines.position
WHERE CASE lines.rounding
    WHEN 'floor_per_line' THEN lines.scale <> 1 OR lines.weight <> quotient(lines.numerator, lines.denominator)
    WHEN 'half_up_per_line' THEN lines.scale <> 1
        OR lines.weight <> quotient(2 * lines.numerator + lines.denominator, 2 * lines.denominator)
    ELSE CAST(lines.weight AS DECIMAL(38, 0)) * lines.denominator <> lines.numerator * lines.scale END
UNION ALL
SELECT 'accrual', earnings.journal, earnings.position, earnings.member, 'base of the lines that earn',
    CAST(sums.base_minor AS STRING), CAST(earnings.base_minor AS STRING)
FROM earnings
JOIN (SELECT journal, position, sum(base_minor) AS base_minor FROM earning_lines GROUP BY journal, position) AS sums
    ON sums.journal = earnings.journal AND sums.position = earnings.position
WHERE sums.base_minor <> earnings.base_minor
UNION ALL
SELECT 'accrual', journal, position, member, 'points before caps', CAST(expected_before_cap AS STRING),
    CAST(before_cap AS STRING)
FROM earned_points WHERE version IS NOT NULL AND (expected_before_cap = before_cap) IS NOT TRUE
UNION ALL
SELECT 'accrual', journal, position, member, 'points', CAST(expected AS STRING), CAST(points AS STRING)
FROM (
    SELECT *, least(expected_before_cap, coalesce(cap_purchase, expected_before_cap),
        greatest(0, coalesce(cap_day - earned_before_in_day, expected_before_cap)),
        greatest(0, coalesce(cap_month - earned_before_in_month, expected_before_cap))) AS expected
    FROM earned_points WHERE version IS NOT NULL
) AS capped
WHERE (points = expected) IS NOT TRUE;
