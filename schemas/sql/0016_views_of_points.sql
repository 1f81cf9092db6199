-- Views of points for readers, and words for every column of every view that has none yet.

CREATE VIEW loyalty_read.balances AS
SELECT name AS programme, member, status AS membership, layers.active + layers.pending + held AS balance, layers.active,
    layers.pending, held, arrears, earned, spent, balances.expired + layers.overdue AS expired, forfeited, clawed_back,
    adjusted, transferred, merged, written_off, version, journal, balances.position
FROM balances JOIN journals USING (journal)
CROSS JOIN LATERAL (
    SELECT coalesce(sum(points) FILTER (WHERE available_at <= now() AND expires_at > now()), 0)::bigint AS active,
        coalesce(sum(points) FILTER (WHERE available_at > now() AND expires_at > now()), 0)::bigint AS pending,
        coalesce(sum(points) FILTER (WHERE expires_at <= now()), 0)::bigint AS overdue
    FROM lots WHERE lots.journal = balances.journal AND lots.member = balances.member
) layers;
COMMENT ON VIEW loyalty_read.balances IS 'What each member has now. What was merged into another is that one''s.';

CREATE VIEW loyalty_read.lots AS
SELECT name AS programme, member, lot, points, opened_at, available_at, nullif(expires_at, 'infinity') AS expires_at,
    expires_at <= now() AS expired
FROM lots JOIN journals USING (journal);
COMMENT ON VIEW loyalty_read.lots IS 'Points that are open, by the layers that they lie in.';

CREATE VIEW loyalty_read.statement AS
SELECT name AS programme, member, occurred_at, statement.recorded_at, topic, points, held, owed, balance, arrears, terms,
    reference, reason, source, id, lots, parts, version, journal, statement.position
FROM statement JOIN journals USING (journal);
COMMENT ON VIEW loyalty_read.statement IS 'Movements of points, one row each, in the order of recording by position.';

GRANT SELECT ON loyalty_read.balances, loyalty_read.lots, loyalty_read.statement TO loyalty_reader;


COMMENT ON COLUMN loyalty_read.balances.programme IS 'The programme.';
COMMENT ON COLUMN loyalty_read.balances.member IS 'The member.';
COMMENT ON COLUMN loyalty_read.balances.membership IS 'unknown, open, closed, erased or merged.';
COMMENT ON COLUMN loyalty_read.balances.balance IS 'Points not expired now, held ones included.';
COMMENT ON COLUMN loyalty_read.balances.active IS 'Points that can be spent now.';
COMMENT ON COLUMN loyalty_read.balances.pending IS 'Points that can be spent later.';
COMMENT ON COLUMN loyalty_read.balances.held IS 'Points on hold.';
COMMENT ON COLUMN loyalty_read.balances.arrears IS 'Points owed.';
COMMENT ON COLUMN loyalty_read.balances.earned IS 'Points accrued.';
COMMENT ON COLUMN loyalty_read.balances.spent IS 'Redeemed and captured, less reversed.';
COMMENT ON COLUMN loyalty_read.balances.expired IS 'Points expired by now, recognised as such or not.';
COMMENT ON COLUMN loyalty_read.balances.forfeited IS 'At a closure or erasure.';
COMMENT ON COLUMN loyalty_read.balances.clawed_back IS 'Taken back after returns or by hand.';
COMMENT ON COLUMN loyalty_read.balances.adjusted IS 'By hand: net, up positive.';
COMMENT ON COLUMN loyalty_read.balances.transferred IS 'Net, received positive.';
COMMENT ON COLUMN loyalty_read.balances.merged IS
    'Net, received by merges positive; less the arrears that came with them.';
COMMENT ON COLUMN loyalty_read.balances.written_off IS 'Arrears written off at a closure or erasure.';
COMMENT ON COLUMN loyalty_read.balances.version IS 'Of the member''s stream: its newest event.';
COMMENT ON COLUMN loyalty_read.balances.journal IS 'The journal of the member.';
COMMENT ON COLUMN loyalty_read.balances.position IS 'Of its newest event in the journal.';

COMMENT ON COLUMN loyalty_read.lots.programme IS 'The programme.';
COMMENT ON COLUMN loyalty_read.lots.member IS 'The member.';
COMMENT ON COLUMN loyalty_read.lots.lot IS 'The lot that the points are of: who earned them first, and its number.';
COMMENT ON COLUMN loyalty_read.lots.points IS 'Points of the layer that are still open.';
COMMENT ON COLUMN loyalty_read.lots.opened_at IS 'When the layer was opened.';
COMMENT ON COLUMN loyalty_read.lots.available_at IS 'From when on they can be spent.';
COMMENT ON COLUMN loyalty_read.lots.expires_at IS 'When they expire; null: never.';
COMMENT ON COLUMN loyalty_read.lots.expired IS
    'Whether they have expired by now and wait for a run that recognises it.';

COMMENT ON COLUMN loyalty_read.statement.programme IS 'The programme.';
COMMENT ON COLUMN loyalty_read.statement.member IS 'The member.';
COMMENT ON COLUMN loyalty_read.statement.occurred_at IS 'Business time.';
COMMENT ON COLUMN loyalty_read.statement.recorded_at IS 'When the ledger recorded it.';
COMMENT ON COLUMN loyalty_read.statement.topic IS 'The type of the event.';
COMMENT ON COLUMN loyalty_read.statement.points IS 'Change of the balance: open and held together.';
COMMENT ON COLUMN loyalty_read.statement.held IS 'Change of what is held.';
COMMENT ON COLUMN loyalty_read.statement.owed IS 'Change of the arrears.';
COMMENT ON COLUMN loyalty_read.statement.balance IS 'After the event.';
COMMENT ON COLUMN loyalty_read.statement.arrears IS 'After the event.';
COMMENT ON COLUMN loyalty_read.statement.terms IS 'The version of the terms that decided; null: none did.';
COMMENT ON COLUMN loyalty_read.statement.reference IS
    'The purchase, redemption, hold or other member that the topic is about.';
COMMENT ON COLUMN loyalty_read.statement.reason IS 'As the command gave it.';
COMMENT ON COLUMN loyalty_read.statement.source IS 'Who sent the command.';
COMMENT ON COLUMN loyalty_read.statement.id IS 'Of the command, unique in its source.';
COMMENT ON COLUMN loyalty_read.statement.lots IS 'The layers that gave or got the points (JSON).';
COMMENT ON COLUMN loyalty_read.statement.parts IS 'Of an accrual: rules, base, rate and multiplier (JSON).';
COMMENT ON COLUMN loyalty_read.statement.version IS 'Of the member''s stream.';
COMMENT ON COLUMN loyalty_read.statement.journal IS 'The journal of the member.';
COMMENT ON COLUMN loyalty_read.statement.position IS 'In the journal, in the order of recording.';

COMMENT ON COLUMN loyalty_read.baselines.programme IS 'The programme.';
COMMENT ON COLUMN loyalty_read.baselines.chart IS 'The name of the chart.';
COMMENT ON COLUMN loyalty_read.baselines.version IS 'Of the chart''s baseline, from 1.';
COMMENT ON COLUMN loyalty_read.baselines.kind IS 'individuals, p or c.';
COMMENT ON COLUMN loyalty_read.baselines.figure IS 'What is charted.';
COMMENT ON COLUMN loyalty_read.baselines.period IS 'day, week or month.';
COMMENT ON COLUMN loyalty_read.baselines.per IS 'programme, channel, store or touchpoint.';
COMMENT ON COLUMN loyalty_read.baselines.value IS 'Of the channel, store or touchpoint; empty for the programme.';
COMMENT ON COLUMN loyalty_read.baselines.from_on IS 'The first day it was made of.';
COMMENT ON COLUMN loyalty_read.baselines.points IS 'Periods it was made of.';
COMMENT ON COLUMN loyalty_read.baselines.centre IS 'The centre line; of a p chart from 0 to 1.';
COMMENT ON COLUMN loyalty_read.baselines.sigma IS
    'Of individuals, mean moving range / 1.128; null: it follows from the centre.';
COMMENT ON COLUMN loyalty_read.baselines.frozen_at IS 'Business time of the freezing.';

COMMENT ON COLUMN loyalty_read.budgets.programme IS 'The programme.';
COMMENT ON COLUMN loyalty_read.budgets.direction IS 'top_down or bottom_up.';
COMMENT ON COLUMN loyalty_read.budgets.measure IS 'revenue, profit, satisfaction or activity.';
COMMENT ON COLUMN loyalty_read.budgets.level IS 'programme, segment or member.';
COMMENT ON COLUMN loyalty_read.budgets.from_on IS 'The first day.';
COMMENT ON COLUMN loyalty_read.budgets.version IS 'Of the budget of these days, from 1.';
COMMENT ON COLUMN loyalty_read.budgets.current IS 'The newest version, which is in force.';
COMMENT ON COLUMN loyalty_read.budgets.set_at IS 'Business time.';

COMMENT ON COLUMN loyalty_read.cohort_repurchases.programme IS 'The programme.';
COMMENT ON COLUMN loyalty_read.cohort_repurchases.cohort IS 'The first day of the month of enrolment.';
COMMENT ON COLUMN loyalty_read.cohort_repurchases.first_day IS
    'The day of the first purchase, in the time zone of the programme.';
COMMENT ON COLUMN loyalty_read.cohort_repurchases.customers IS
    'Members of the cohort whose first purchase was on that day.';
COMMENT ON COLUMN loyalty_read.cohort_repurchases.within_30_days IS
    'Of them, those with another purchase day at most 30 days later.';
COMMENT ON COLUMN loyalty_read.cohort_repurchases.within_90_days IS 'The same within 90 days.';
COMMENT ON COLUMN loyalty_read.cohort_repurchases.within_365_days IS 'The same within 365 days.';

COMMENT ON COLUMN loyalty_read.cohorts.programme IS 'The programme.';
COMMENT ON COLUMN loyalty_read.cohorts.month IS 'The first day of the month of the trade.';
COMMENT ON COLUMN loyalty_read.cohorts.purchases IS 'Purchases in the month.';

COMMENT ON COLUMN loyalty_read.complaints.programme IS 'The programme.';
COMMENT ON COLUMN loyalty_read.complaints.member IS 'The member.';
COMMENT ON COLUMN loyalty_read.complaints.complaint IS 'The id of the complaint.';
COMMENT ON COLUMN loyalty_read.complaints.source IS 'Who sent it; source and id identify it.';
COMMENT ON COLUMN loyalty_read.complaints.category IS 'As it was given.';
COMMENT ON COLUMN loyalty_read.complaints.touchpoint IS 'Where it was opened.';
COMMENT ON COLUMN loyalty_read.complaints.channel IS 'Where it was opened.';
COMMENT ON COLUMN loyalty_read.complaints.store IS 'Where it was opened.';
COMMENT ON COLUMN loyalty_read.complaints.purchase IS 'The purchase it is about, if any.';
COMMENT ON COLUMN loyalty_read.complaints.opened_at IS 'Business time.';
COMMENT ON COLUMN loyalty_read.complaints.opened_day IS 'In the time zone of the programme.';
COMMENT ON COLUMN loyalty_read.complaints.resolved_at IS 'Business time; null: it is open.';
COMMENT ON COLUMN loyalty_read.complaints.resolved_day IS 'In the time zone of the programme.';
COMMENT ON COLUMN loyalty_read.complaints.resolution_seconds IS 'From opening to resolution.';
COMMENT ON COLUMN loyalty_read.complaints.outcome IS 'As it was given at the resolution.';

COMMENT ON COLUMN loyalty_read.corrective_actions.programme IS 'The programme.';
COMMENT ON COLUMN loyalty_read.corrective_actions.nonconformity IS 'The nonconformity it is planned against.';
COMMENT ON COLUMN loyalty_read.corrective_actions.action IS 'The name of the action.';
COMMENT ON COLUMN loyalty_read.corrective_actions.what IS 'What is to be done.';
COMMENT ON COLUMN loyalty_read.corrective_actions.step IS 'do or verify next; or the end: effective, ineffective.';
COMMENT ON COLUMN loyalty_read.corrective_actions.owner IS 'Of the step; null: there is none left.';
COMMENT ON COLUMN loyalty_read.corrective_actions.due_on IS 'By when the step is due.';
COMMENT ON COLUMN loyalty_read.corrective_actions.planned_at IS 'Business time.';
COMMENT ON COLUMN loyalty_read.corrective_actions.done_by IS 'Who did it.';
COMMENT ON COLUMN loyalty_read.corrective_actions.done_at IS 'Business time; null: not done.';
COMMENT ON COLUMN loyalty_read.corrective_actions.verified_by IS 'Who verified it.';
COMMENT ON COLUMN loyalty_read.corrective_actions.verified_at IS 'Business time; null: not verified.';
COMMENT ON COLUMN loyalty_read.corrective_actions.evidence IS 'Of the newest step.';

COMMENT ON COLUMN loyalty_read.focus_assessments.programme IS 'The programme.';
COMMENT ON COLUMN loyalty_read.focus_assessments.position IS 'Of the audit in the journal: rows of one are one audit.';
COMMENT ON COLUMN loyalty_read.focus_assessments.factor IS 'organisation, communications or information.';
COMMENT ON COLUMN loyalty_read.focus_assessments.assessor IS 'Who assessed.';
COMMENT ON COLUMN loyalty_read.focus_assessments.assessed_at IS 'Business time.';
COMMENT ON COLUMN loyalty_read.focus_assessments.lowest IS 'Of the scale.';
COMMENT ON COLUMN loyalty_read.focus_assessments.highest IS 'Of the scale.';
COMMENT ON COLUMN loyalty_read.focus_assessments.number IS 'Of the item in its audit, from 1.';
COMMENT ON COLUMN loyalty_read.focus_assessments.item IS 'What was assessed.';
COMMENT ON COLUMN loyalty_read.focus_assessments.score IS 'On the scale from lowest to highest.';
COMMENT ON COLUMN loyalty_read.focus_assessments.evidence IS 'What the score rests on.';

COMMENT ON COLUMN loyalty_read.follow_ups.programme IS 'The programme.';
COMMENT ON COLUMN loyalty_read.follow_ups.member IS 'The member.';
COMMENT ON COLUMN loyalty_read.follow_ups.follow_up IS 'The id of the follow-up.';
COMMENT ON COLUMN loyalty_read.follow_ups.source IS 'Who sent it; source and id identify it.';
COMMENT ON COLUMN loyalty_read.follow_ups.reason IS 'As it was given.';
COMMENT ON COLUMN loyalty_read.follow_ups.touchpoint IS 'Where it was promised.';
COMMENT ON COLUMN loyalty_read.follow_ups.channel IS 'Where it was promised.';
COMMENT ON COLUMN loyalty_read.follow_ups.scheduled_at IS 'Business time of the promise.';
COMMENT ON COLUMN loyalty_read.follow_ups.due_at IS 'By when it was promised.';
COMMENT ON COLUMN loyalty_read.follow_ups.due_day IS 'In the time zone of the programme.';
COMMENT ON COLUMN loyalty_read.follow_ups.completed_at IS 'Business time; null: it is open.';
COMMENT ON COLUMN loyalty_read.follow_ups.completed_day IS 'In the time zone of the programme.';
COMMENT ON COLUMN loyalty_read.follow_ups.in_time IS
    'Whether it was completed by the instant it was due; null: it is open.';
COMMENT ON COLUMN loyalty_read.follow_ups.outcome IS 'As it was given at the completion.';

COMMENT ON COLUMN loyalty_read.latest_answers.programme IS 'The programme.';
COMMENT ON COLUMN loyalty_read.latest_answers.member IS 'The member that answered.';
COMMENT ON COLUMN loyalty_read.latest_answers.instrument IS 'NPS, CSAT, CES or ACSI.';
COMMENT ON COLUMN loyalty_read.latest_answers.score IS
    'On the scale from lowest to highest; of ACSI an index from 0 to 100.';
COMMENT ON COLUMN loyalty_read.latest_answers.satisfied IS 'By the rule of the instrument.';
COMMENT ON COLUMN loyalty_read.latest_answers.lowest IS 'Of the scale of the answer.';
COMMENT ON COLUMN loyalty_read.latest_answers.highest IS 'Of the scale of the answer.';
COMMENT ON COLUMN loyalty_read.latest_answers.day IS 'The day of the answer in the time zone of the programme.';
COMMENT ON COLUMN loyalty_read.latest_answers.occurred_at IS 'Business time.';
COMMENT ON COLUMN loyalty_read.latest_answers.journal IS 'The journal of the member.';
COMMENT ON COLUMN loyalty_read.latest_answers.position IS 'Of the answer in the journal.';

COMMENT ON COLUMN loyalty_read.member_attributes.programme IS 'The programme.';
COMMENT ON COLUMN loyalty_read.member_attributes.member IS 'The member.';
COMMENT ON COLUMN loyalty_read.member_attributes.attribute IS 'The name of the attribute.';
COMMENT ON COLUMN loyalty_read.member_attributes.value IS 'Its value now.';

COMMENT ON COLUMN loyalty_read.member_lifetime.programme IS 'The programme.';
COMMENT ON COLUMN loyalty_read.member_lifetime.member IS 'The member, for all that were merged into it.';
COMMENT ON COLUMN loyalty_read.member_lifetime.enrolled_at IS 'The earliest enrolment of them.';
COMMENT ON COLUMN loyalty_read.member_lifetime.first_purchase_at IS 'Business time.';
COMMENT ON COLUMN loyalty_read.member_lifetime.last_purchase_at IS 'Business time.';
COMMENT ON COLUMN loyalty_read.member_lifetime.purchases IS 'Purchases.';
COMMENT ON COLUMN loyalty_read.member_lifetime.returns IS 'Returns.';
COMMENT ON COLUMN loyalty_read.member_lifetime.returned_minor IS 'Amounts of the returns.';
COMMENT ON COLUMN loyalty_read.member_lifetime.attributed_cost_minor IS
    'Costs of serving the member, beside those of goods.';
COMMENT ON COLUMN loyalty_read.member_lifetime.points_earned IS 'Points accrued.';
COMMENT ON COLUMN loyalty_read.member_lifetime.surveyed_at IS 'When the newest wallet survey was answered.';
COMMENT ON COLUMN loyalty_read.member_lifetime.channels IS 'Of its purchases, sorted.';
COMMENT ON COLUMN loyalty_read.member_lifetime.stores IS 'Of its purchases, sorted.';

COMMENT ON COLUMN loyalty_read.member_profiles.programme IS 'The programme.';
COMMENT ON COLUMN loyalty_read.member_profiles.member IS 'The member.';
COMMENT ON COLUMN loyalty_read.member_profiles.status IS 'open, closed, erased or merged.';
COMMENT ON COLUMN loyalty_read.member_profiles.enrolled_at IS 'Business time.';
COMMENT ON COLUMN loyalty_read.member_profiles.attributes_at IS
    'The newest change of attributes; null: there is none, or they were erased.';

COMMENT ON COLUMN loyalty_read.merged_members.programme IS 'The programme.';
COMMENT ON COLUMN loyalty_read.merged_members.member IS 'The member that was merged.';

COMMENT ON COLUMN loyalty_read.nonconformities.programme IS 'The programme.';
COMMENT ON COLUMN loyalty_read.nonconformities.nonconformity IS 'The name of the nonconformity.';
COMMENT ON COLUMN loyalty_read.nonconformities.what IS 'What is not as it should be.';
COMMENT ON COLUMN loyalty_read.nonconformities.objective IS 'The objective that was missed, if it is that.';
COMMENT ON COLUMN loyalty_read.nonconformities.period_on IS 'The first day of the period that missed it.';
COMMENT ON COLUMN loyalty_read.nonconformities.step IS 'find_cause, plan_action, act or closed.';
COMMENT ON COLUMN loyalty_read.nonconformities.due_on IS
    'By when the step is due; null in act, where each action has its own.';
COMMENT ON COLUMN loyalty_read.nonconformities.cause IS 'As it was found; null: not yet.';
COMMENT ON COLUMN loyalty_read.nonconformities.raised_at IS 'Business time.';
COMMENT ON COLUMN loyalty_read.nonconformities.closed_at IS 'Business time; null: it is open.';

COMMENT ON COLUMN loyalty_read.objective_measurements.programme IS 'The programme.';
COMMENT ON COLUMN loyalty_read.objective_measurements.objective IS 'The objective.';
COMMENT ON COLUMN loyalty_read.objective_measurements.value IS 'The value, or the bound of it.';
COMMENT ON COLUMN loyalty_read.objective_measurements.sample IS
    'On how many observations the value rests; null: not said.';
COMMENT ON COLUMN loyalty_read.objective_measurements.evidence IS 'What the value rests on.';
COMMENT ON COLUMN loyalty_read.objective_measurements.source IS 'Who sent the measurement.';
COMMENT ON COLUMN loyalty_read.objective_measurements.measured_at IS 'Business time.';

COMMENT ON COLUMN loyalty_read.objectives.programme IS 'The programme.';
COMMENT ON COLUMN loyalty_read.objectives.objective IS 'The name that measurements refer to.';
COMMENT ON COLUMN loyalty_read.objectives.version IS 'Of the definition, from 1.';
COMMENT ON COLUMN loyalty_read.objectives.name IS 'What it is called.';
COMMENT ON COLUMN loyalty_read.objectives.comparator IS '>=, >, <=, < or =.';
COMMENT ON COLUMN loyalty_read.objectives.unit IS 'Of the target.';
COMMENT ON COLUMN loyalty_read.objectives.period IS 'day, week, month, quarter or year.';
COMMENT ON COLUMN loyalty_read.objectives.owner IS 'Who answers for it.';
COMMENT ON COLUMN loyalty_read.objectives.respond_within_days IS 'Days in which the cause of a miss is to be found.';
COMMENT ON COLUMN loyalty_read.objectives.retired IS 'Whether it was retired with this version.';
COMMENT ON COLUMN loyalty_read.objectives.defined_at IS 'Business time.';

COMMENT ON COLUMN loyalty_read.programme_value.programme IS 'The programme.';
COMMENT ON COLUMN loyalty_read.programme_value.members IS 'Persons, whatever their membership.';
COMMENT ON COLUMN loyalty_read.programme_value.purchases IS 'Purchases.';
COMMENT ON COLUMN loyalty_read.programme_value.returns IS 'Returns.';
COMMENT ON COLUMN loyalty_read.programme_value.units IS 'Net of those returned.';
COMMENT ON COLUMN loyalty_read.programme_value.purchased_minor IS 'As paid, tax included, before returns.';
COMMENT ON COLUMN loyalty_read.programme_value.returned_minor IS 'Amounts of the returns.';
COMMENT ON COLUMN loyalty_read.programme_value.revenue_minor IS 'What was purchased less what was returned.';
COMMENT ON COLUMN loyalty_read.programme_value.goods_cost_minor IS
    'Of the lines whose cost is known, less goods returned.';
COMMENT ON COLUMN loyalty_read.programme_value.attributed_cost_minor IS 'Costs of serving members.';
COMMENT ON COLUMN loyalty_read.programme_value.uncosted_lines IS 'Lines bought or returned whose cost is not known.';
COMMENT ON COLUMN loyalty_read.programme_value.profitable_members IS 'Members that brought more than they cost.';
COMMENT ON COLUMN loyalty_read.programme_value.unprofitable_members IS 'Members that cost more than they brought.';
COMMENT ON COLUMN loyalty_read.programme_value.points_earned IS 'Points accrued.';
COMMENT ON COLUMN loyalty_read.programme_value.points_redeemed IS 'Redeemed and captured, less reversed.';

COMMENT ON COLUMN loyalty_read.satisfaction_days.programme IS 'The programme.';
COMMENT ON COLUMN loyalty_read.satisfaction_days.per IS
    'programme, channel, store or touchpoint: choose one before adding up.';
COMMENT ON COLUMN loyalty_read.satisfaction_days.value IS
    'Of the channel, store or touchpoint; empty where none was named.';
COMMENT ON COLUMN loyalty_read.satisfaction_days.day IS 'In the time zone of the programme.';
COMMENT ON COLUMN loyalty_read.satisfaction_days.instrument IS 'NPS, CSAT, CES or ACSI.';
COMMENT ON COLUMN loyalty_read.satisfaction_days.lowest IS 'Of the scale of the answers.';
COMMENT ON COLUMN loyalty_read.satisfaction_days.highest IS 'Of the scale of the answers.';
COMMENT ON COLUMN loyalty_read.satisfaction_days.scored IS 'Answers that can be scored.';
COMMENT ON COLUMN loyalty_read.satisfaction_days.promoters IS 'Of NPS: 9 or 10.';
COMMENT ON COLUMN loyalty_read.satisfaction_days.detractors IS 'Of NPS: 0 to 6.';
COMMENT ON COLUMN loyalty_read.satisfaction_days.satisfied IS 'By the rule of the instrument.';
COMMENT ON COLUMN loyalty_read.satisfaction_days.weighted IS 'Scored with the weights of a defined survey.';
COMMENT ON COLUMN loyalty_read.satisfaction_days.score_squares IS 'Sum of the squares of the scores.';

COMMENT ON COLUMN loyalty_read.service_days.programme IS 'The programme.';
COMMENT ON COLUMN loyalty_read.service_days.per IS
    'programme, channel, store or touchpoint: choose one before adding up.';
COMMENT ON COLUMN loyalty_read.service_days.value IS 'Of the channel, store or touchpoint; empty where none was named.';
COMMENT ON COLUMN loyalty_read.service_days.day IS 'In the time zone of the programme.';
COMMENT ON COLUMN loyalty_read.service_days.purchases IS 'Purchases on the day; none names a touchpoint.';
COMMENT ON COLUMN loyalty_read.service_days.resolved IS 'Complaints resolved on the day, whenever they were opened.';
COMMENT ON COLUMN loyalty_read.service_days.resolution_seconds IS
    'From opening to resolution, of those resolved on the day.';
COMMENT ON COLUMN loyalty_read.service_days.follow_ups_in_time IS
    'Of those due on the day, completed by the instant they were due.';
COMMENT ON COLUMN loyalty_read.service_days.follow_ups_late IS 'Of those due on the day, completed later.';

COMMENT ON COLUMN loyalty_read.survey_answers.programme IS 'The programme.';
COMMENT ON COLUMN loyalty_read.survey_answers.member IS 'The member that answered.';
COMMENT ON COLUMN loyalty_read.survey_answers.occurred_at IS 'Business time.';
COMMENT ON COLUMN loyalty_read.survey_answers.instrument IS 'NPS, CSAT, CES or ACSI.';
COMMENT ON COLUMN loyalty_read.survey_answers.survey IS 'The defined survey that it answers; null: none was named.';
COMMENT ON COLUMN loyalty_read.survey_answers.weighted IS
    'Whether it is scored with the weights of the defined survey.';
COMMENT ON COLUMN loyalty_read.survey_answers.lowest IS 'Of the scale of the answer.';
COMMENT ON COLUMN loyalty_read.survey_answers.highest IS 'Of the scale of the answer.';
COMMENT ON COLUMN loyalty_read.survey_answers.touchpoint IS 'Where it was asked.';
COMMENT ON COLUMN loyalty_read.survey_answers.channel IS 'Where it was asked.';
COMMENT ON COLUMN loyalty_read.survey_answers.store IS 'Where it was asked.';
COMMENT ON COLUMN loyalty_read.survey_answers.purchase IS 'The purchase it is about, if any.';
COMMENT ON COLUMN loyalty_read.survey_answers.journal IS 'The journal of the member.';
COMMENT ON COLUMN loyalty_read.survey_answers.position IS 'Of the answer in the journal.';

COMMENT ON COLUMN loyalty_read.trade_days.programme IS 'The programme.';
COMMENT ON COLUMN loyalty_read.trade_days.member IS 'The member.';
COMMENT ON COLUMN loyalty_read.trade_days.purchases IS 'Purchases.';
COMMENT ON COLUMN loyalty_read.trade_days.units IS 'Quantities bought.';
COMMENT ON COLUMN loyalty_read.trade_days.purchased_minor IS 'As paid, tax included, before returns; in minor units.';
COMMENT ON COLUMN loyalty_read.trade_days.returns IS 'Returns.';
COMMENT ON COLUMN loyalty_read.trade_days.returned_units IS 'Quantities that came back.';
COMMENT ON COLUMN loyalty_read.trade_days.returned_minor IS 'Amounts of the returns.';
COMMENT ON COLUMN loyalty_read.trade_days.attributed_cost_minor IS
    'Costs of serving the member, beside those of goods.';
