-- Aggregates that take seconds, as materialized views: the tables' owner refreshes them after an import (maintenance/summaries.py),
-- analysts and applications read them. They hold numbers by organization, week and company, and nothing of one person's;
-- days between two steps are rounded to tenths, so that no time can be reckoned back. Rows deleted at the source do not count.

CREATE FUNCTION app.days_between(earlier TIMESTAMPTZ, later TIMESTAMPTZ) RETURNS DOUBLE PRECISION
LANGUAGE sql STABLE PARALLEL SAFE
RETURN CASE WHEN isfinite(earlier) AND isfinite(later) AND earlier <= later
            THEN extract(epoch FROM later - earlier)::double precision / 86400 END;
COMMENT ON FUNCTION app.days_between(TIMESTAMPTZ, TIMESTAMPTZ) IS
    'Days from one time to another; NULL where one is missing or infinite, or they are the other way round.';

CREATE MATERIALIZED VIEW reporting.onboarding_funnel AS
WITH referral AS MATERIALIZED (
    SELECT CASE WHEN isfinite(t.referred_at) THEN date_trunc('week', t.referred_at AT TIME ZONE 'UTC')::date END AS week,
           CASE WHEN o.kind = 1 THEN o.id ELSE o.parent_organization_id END AS district_id, r.organization_id,
           array_position(ARRAY['referred', 'onboarding_completed', 'ready_for_scheduling', 'scheduled', 'enrolled'],
                          app.referral_status(r.system_labels, r.onboarding_completed_at, r.ready_for_scheduling_at,
                                              r.scheduled_at, r.enrolled_at)) AS step,
           r.request_rejected_at IS NOT NULL OR coalesce('request_rejected' = ANY (r.system_labels), false) AS rejected,
           app.days_between(t.referred_at, r.onboarding_completed_at) AS to_onboarding,
           app.days_between(r.onboarding_completed_at, r.ready_for_scheduling_at) AS to_ready,
           app.days_between(r.ready_for_scheduling_at, r.scheduled_at) AS to_scheduled,
           app.days_between(r.scheduled_at, r.enrolled_at) AS to_enrolled,
           app.days_between(t.referred_at, r.enrolled_at) AS in_all
    FROM public.referrals r
    LEFT JOIN public.organizations o ON o.id = r.organization_id AND o._fivetran_deleted IS NOT TRUE,
    LATERAL (SELECT coalesce(r.referred_at, r.created_at) AS referred_at) t
    WHERE r._fivetran_deleted IS NOT TRUE
), counted AS (
    SELECT CASE GROUPING(week) WHEN 0 THEN 'week' ELSE 'all' END AS period,
           CASE WHEN GROUPING(organization_id) = 0 THEN 'school' WHEN GROUPING(district_id) = 0 THEN 'district' ELSE 'all' END AS scope,
           week, district_id, organization_id,
           count(*) AS referred,
           count(*) FILTER (WHERE step >= 2) AS onboarding_completed,
           count(*) FILTER (WHERE step >= 3) AS ready_for_scheduling,
           count(*) FILTER (WHERE step >= 4) AS scheduled,
           count(*) FILTER (WHERE step >= 5) AS enrolled,
           count(*) FILTER (WHERE rejected) AS rejected,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY to_onboarding) AS to_onboarding,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY to_ready) AS to_ready,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY to_scheduled) AS to_scheduled,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY to_enrolled) AS to_enrolled,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY in_all) AS in_all
    FROM referral
    GROUP BY GROUPING SETS ((week, district_id, organization_id), (week, district_id), (week),
                            (district_id, organization_id), (district_id), ())
)
SELECT concat_ws('/', c.period, coalesce(c.week::text, '-'), c.scope, coalesce(c.district_id::text, '-'), coalesce(c.organization_id::text, '-'))
           AS id,
       c.period, c.scope, c.week, c.district_id, d.name AS district_name, c.organization_id, s.name AS organization_name,
       c.referred, c.onboarding_completed, c.ready_for_scheduling, c.scheduled, c.enrolled, c.rejected,
       round(c.to_onboarding::numeric, 1) AS median_days_to_onboarding, round(c.to_ready::numeric, 1) AS median_days_to_ready,
       round(c.to_scheduled::numeric, 1) AS median_days_to_scheduled, round(c.to_enrolled::numeric, 1) AS median_days_to_enrolled,
       round(c.in_all::numeric, 1) AS median_days_in_all
FROM counted c
LEFT JOIN public.organizations d ON d.id = c.district_id AND d._fivetran_deleted IS NOT TRUE
LEFT JOIN public.organizations s ON s.id = c.organization_id AND s._fivetran_deleted IS NOT TRUE;
CREATE UNIQUE INDEX onboarding_funnel_id ON reporting.onboarding_funnel (id);
CREATE INDEX onboarding_funnel_by_organization ON reporting.onboarding_funnel (organization_id, week);
COMMENT ON MATERIALIZED VIEW reporting.onboarding_funnel IS
    'How many referrals came how far, and the median days from step to step: by week and in all (period), for each school, each district and everything (scope). As of its last refresh.';

CREATE MATERIALIZED VIEW reporting.coverage_by_insurer AS
SELECT concat_ws('/', coalesce(c.eligibility::text, '-'), coalesce(md5(c.insurance_company_name), '-'), c.kind) AS id,
       c.insurance_company_name, c.kind, c.eligibility,
       CASE c.eligibility WHEN 0 THEN 'unknown' WHEN 2 THEN 'submitted' WHEN 4 THEN 'eligible' WHEN 6 THEN 'expired' END
           AS eligibility_name,
       count(*) AS coverages, count(DISTINCT c.user_id) AS patients
FROM public.insurance_coverages c
LEFT JOIN public.patients_and_guardians p ON p.id = c.user_id
WHERE c._fivetran_deleted IS NOT TRUE AND p._fivetran_deleted IS NOT TRUE
GROUP BY c.insurance_company_name, c.kind, c.eligibility;
CREATE UNIQUE INDEX coverage_by_insurer_id ON reporting.coverage_by_insurer (id);
COMMENT ON MATERIALIZED VIEW reporting.coverage_by_insurer IS
    'How many coverages and patients each insurance company has, by eligibility. As of its last refresh.';

CREATE VIEW app.onboarding_funnel AS SELECT * FROM reporting.onboarding_funnel;
COMMENT ON VIEW app.onboarding_funnel IS 'reporting.onboarding_funnel, for applications. Index onboarding_funnel_by_organization: organization_id, week.';
