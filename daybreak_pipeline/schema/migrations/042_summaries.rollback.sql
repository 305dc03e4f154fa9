-- Takes back 038_summaries.

DROP VIEW app.onboarding_funnel;
DROP MATERIALIZED VIEW reporting.coverage_by_insurer;
DROP MATERIALIZED VIEW reporting.onboarding_funnel;
DROP FUNCTION app.days_between(TIMESTAMPTZ, TIMESTAMPTZ);
