-- Satisfaction: answers, complaints and follow-ups by day (read models: satisfaction_days, service_days), of the
-- programme and by channel, store and touchpoint; and by month. Scores are whole millionths, halves to the even one.

CREATE TEMPORARY VIEW answers AS
SELECT said_answers.journal, said_answers.position, said_answers.member,
    local_day(said_answers.occurred_at, zones.zone) AS day, said_answers.said.instrument AS instrument,
    element_at(said_answers.said.scale, 1) AS lowest, element_at(said_answers.said.scale, 2) AS highest,
    coalesce(said_answers.said.channel, '') AS channel, coalesce(said_answers.said.store, '') AS store,
    coalesce(said_answers.said.touchpoint, '') AS touchpoint
FROM said_answers LEFT JOIN zones ON zones.programme = said_answers.programme;

CREATE TEMPORARY VIEW answer_weights AS
SELECT journal, position, entry.key AS question, entry.value AS weight
FROM (SELECT journal, position, explode(map_entries(said.weights)) AS entry FROM said_answers) AS weights;

CREATE TEMPORARY VIEW weighted_answers AS
SELECT journal, position, count(*) AS weights FROM answer_weights GROUP BY journal, position;

-- Per answer: of how many numbers, their sum in units of 10^-9, and for ACSI the weights and the weighted heights.
CREATE TEMPORARY VIEW answer_sums AS
SELECT answers.journal, answers.position, count(*) AS numbers,
    sum(CAST(CAST(number AS DECIMAL(28, 9)) * 1000000000 AS DECIMAL(28, 0))) AS total,
    sum(CASE WHEN weighted_answers.weights IS NULL THEN 1 ELSE coalesce(answer_weights.weight, 0) END) AS weight,
    sum(CAST((CAST(number AS DECIMAL(28, 9)) - lowest) * 1000000000 AS DECIMAL(28, 0))
        * CASE WHEN weighted_answers.weights IS NULL THEN 1 ELSE coalesce(answer_weights.weight, 0) END) AS height
FROM answers
JOIN survey_numbers ON survey_numbers.journal = answers.journal AND survey_numbers.position = answers.position
LEFT JOIN weighted_answers
    ON weighted_answers.journal = answers.journal AND weighted_answers.position = answers.position
LEFT JOIN answer_weights ON answer_weights.journal = answers.journal AND answer_weights.position = answers.position
    AND answer_weights.question = survey_numbers.question
GROUP BY answers.journal, answers.position;

CREATE TEMPORARY VIEW score_fractions AS
SELECT journal, position,
    CAST(CASE WHEN instrument = 'ACSI' THEN height * 100 ELSE total END AS DECIMAL(38, 0)) AS dividend,
    CAST(CASE WHEN instrument = 'ACSI' THEN weight * (highest - lowest) ELSE numbers END AS DECIMAL(20, 0)) * 1000
        AS divisor
FROM answers JOIN answer_sums USING (journal, position)
WHERE CASE instrument WHEN 'NPS' THEN numbers = 1 AND lowest = 0 AND highest = 10
    WHEN 'ACSI' THEN weight > 0 ELSE TRUE END;

CREATE TABLE answer_scores AS
SELECT answers.journal, answers.position, answers.member, day, instrument, lowest, highest, channel, store, touchpoint,
    score, CASE instrument
        WHEN 'NPS' THEN score >= 9000000
        WHEN 'CSAT' THEN score >= (highest - 1) * 1000000
        WHEN 'CES' THEN 3 * (score - lowest * 1000000) >= 2 * (highest - lowest) * 1000000
        ELSE 3 * score >= 200000000 END AS satisfied,
    CASE WHEN score IS NOT NULL AND instrument = 'ACSI' AND weighted_answers.weights > 0 THEN 1 ELSE 0 END AS weighted
FROM answers
LEFT JOIN (
    SELECT journal, position, whole + CASE
        WHEN 2 * (dividend - whole * divisor) > divisor THEN 1
        WHEN 2 * (dividend - whole * divisor) = divisor AND whole % 2 = 1 THEN 1
        ELSE 0 END AS score
    FROM (SELECT *, quotient(dividend, divisor) AS whole FROM score_fractions) AS divided
) AS scored ON scored.journal = answers.journal AND scored.position = answers.position
LEFT JOIN weighted_answers
    ON weighted_answers.journal = answers.journal AND weighted_answers.position = answers.position;

CREATE TEMPORARY VIEW placed_scores AS
SELECT answer_scores.*, 'programme' AS per, '' AS value FROM answer_scores
UNION ALL SELECT answer_scores.*, 'channel', channel FROM answer_scores
UNION ALL SELECT answer_scores.*, 'store', store FROM answer_scores
UNION ALL SELECT answer_scores.*, 'touchpoint', touchpoint FROM answer_scores;

CREATE TABLE recomputed_satisfaction_days AS
SELECT journal, per, value, day, instrument, lowest, highest, count(*) AS answers, count(score) AS scored,
    CAST(sum(CASE WHEN instrument = 'NPS' AND score >= 9000000 THEN 1 ELSE 0 END) AS BIGINT) AS promoters,
    CAST(sum(CASE WHEN instrument = 'NPS' AND score <= 6000000 THEN 1 ELSE 0 END) AS BIGINT) AS detractors,
    CAST(sum(CASE WHEN score IS NOT NULL AND satisfied THEN 1 ELSE 0 END) AS BIGINT) AS satisfied,
    CAST(sum(weighted) AS BIGINT) AS weighted, CAST(coalesce(sum(score), 0) AS BIGINT) AS score_millionths,
    CAST(coalesce(sum(CAST(score AS DECIMAL(18, 0)) * CAST(score AS DECIMAL(18, 0))), 0) AS DECIMAL(38, 0))
        AS square_trillionths
FROM placed_scores GROUP BY journal, per, value, day, instrument, lowest, highest;

-- By month, of the programme: NPS is the share of promoters less that of detractors, CSAT the share of satisfied
-- answers, CES and ACSI are means; CES on other scales is mapped to 1 to 7.
CREATE TABLE recomputed_satisfaction_months AS
SELECT journals.programme, month_of(day) AS month, instrument, CAST(sum(scored) AS BIGINT) AS n, CASE instrument
    WHEN 'NPS' THEN 100.0 * sum(promoters - detractors) / nullif(sum(scored), 0)
    WHEN 'CSAT' THEN 100.0 * sum(satisfied) / nullif(sum(scored), 0)
    WHEN 'CES' THEN sum(CAST(score_millionths - 1000000 * lowest * scored AS DOUBLE) * 6 / (highest - lowest)
        + 1000000.0 * scored) / 1000000 / nullif(sum(scored), 0)
    ELSE sum(score_millionths) / 1000000.0 / nullif(sum(scored), 0) END AS figure
FROM recomputed_satisfaction_days
JOIN (SELECT DISTINCT journal, programme FROM events) AS journals
    ON journals.journal = recomputed_satisfaction_days.journal
WHERE per = 'programme'
GROUP BY journals.programme, month_of(day), instrument;

-- Complaints and follow-ups. What is resolved or kept is the newest of that name; until is where the next one of the
-- name begins. No purchase names a touchpoint, and no follow-up a store.
CREATE TEMPORARY VIEW service AS
SELECT said_service.journal, said_service.position, said_service.member, said_service.id, said_service.topic,
    said_service.occurred_at, zones.zone, coalesce(said_service.said.channel, '') AS channel,
    coalesce(said_service.said.store, '') AS store, coalesce(said_service.said.touchpoint, '') AS touchpoint,
    said_service.said.complaint AS complaint, said_service.said.follow_up AS follow_up,
    instant(said_service.said.due_at) AS due_at,
    lead(said_service.position) OVER (PARTITION BY said_service.topic, said_service.journal, said_service.member,
        said_service.id ORDER BY said_service.position) AS until
FROM said_service LEFT JOIN zones ON zones.programme = said_service.programme;

CREATE TABLE served AS
SELECT journal, position, day, channel, store, NULL AS touchpoint, 1 AS purchases, 0 AS complaints, 0 AS resolved,
    0 AS resolution_microseconds, 0 AS follow_ups, 0 AS follow_ups_in_time, 0 AS follow_ups_late
FROM purchases
UNION ALL
SELECT journal, position, local_day(occurred_at, zone), channel, store, touchpoint, 0, 1, 0, 0, 0, 0, 0
FROM service WHERE topic = 'complaint-opened.v1'
UNION ALL
SELECT ended.journal, ended.position, local_day(ended.occurred_at, ended.zone), opened.channel, opened.store,
    opened.touchpoint, 0, 0, 1, microseconds_between(opened.occurred_at, ended.occurred_at), 0, 0, 0
FROM service AS ended JOIN service AS opened ON opened.topic = 'complaint-opened.v1' AND opened.journal = ended.journal
    AND opened.member = ended.member AND opened.id = ended.complaint AND opened.position < ended.position
    AND (opened.until IS NULL OR opened.until > ended.position)
WHERE ended.topic = 'complaint-resolved.v1'
UNION ALL
SELECT journal, position, local_day(due_at, zone), channel, store, touchpoint, 0, 0, 0, 0, 1, 0, 0
FROM service WHERE topic = 'follow-up-scheduled.v1'
UNION ALL
SELECT ended.journal, ended.position, local_day(promised.due_at, ended.zone), promised.channel, promised.store,
    promised.touchpoint, 0, 0, 0, 0, 0, CASE WHEN ended.occurred_at <= promised.due_at THEN 1 ELSE 0 END,
    CASE WHEN ended.occurred_at > promised.due_at THEN 1 ELSE 0 END
FROM service AS ended JOIN service AS promised ON promised.topic = 'follow-up-scheduled.v1'
    AND promised.journal = ended.journal AND promised.member = ended.member AND promised.id = ended.follow_up
    AND promised.position < ended.position AND (promised.until IS NULL OR promised.until > ended.position)
WHERE ended.topic = 'follow-up-completed.v1';

CREATE TEMPORARY VIEW placed_service AS
SELECT served.*, 'programme' AS per, '' AS value FROM served
UNION ALL SELECT served.*, 'channel', channel FROM served
UNION ALL SELECT served.*, 'store', store FROM served
UNION ALL SELECT served.*, 'touchpoint', touchpoint FROM served WHERE touchpoint IS NOT NULL;

CREATE TABLE recomputed_service_days AS
SELECT journal, per, value, day, CAST(sum(purchases) AS BIGINT) AS purchases,
    CAST(sum(complaints) AS BIGINT) AS complaints, CAST(sum(resolved) AS BIGINT) AS resolved,
    CAST(sum(resolution_microseconds) AS BIGINT) AS resolution_microseconds,
    CAST(sum(follow_ups) AS BIGINT) AS follow_ups, CAST(sum(follow_ups_in_time) AS BIGINT) AS follow_ups_in_time,
    CAST(sum(follow_ups_late) AS BIGINT) AS follow_ups_late
FROM placed_service GROUP BY journal, per, value, day;
