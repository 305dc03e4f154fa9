-- Takes back 046_numbers_for_analysts.

DROP MATERIALIZED VIEW reporting.capacity_by_week;
DROP MATERIALIZED VIEW reporting.coverage_by_week;
DROP MATERIALIZED VIEW reporting.funnel_by_week;
DROP FUNCTION reporting.organizations_in_districts();
DROP FUNCTION reporting.week_of(TIMESTAMPTZ, TEXT);
DROP FUNCTION reporting.is_dated(TIMESTAMPTZ);
DROP FUNCTION reporting.publishable(reporting.cell[], INTEGER);
DROP FUNCTION reporting.periods(reporting.cell[], INTEGER);
DROP FUNCTION reporting.shown_classes(BIGINT[], BIGINT[]);
DROP TYPE reporting.cell;
DROP FUNCTION reporting.may_be_shown(NUMERIC, NUMERIC);
