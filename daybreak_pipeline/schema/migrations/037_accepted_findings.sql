-- What checks find and somebody has looked at and accepted: with a reason, for as long as it does not grow, and until a day.

CREATE TABLE ingest.accepted_findings (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    table_name TEXT NOT NULL,
    check_name TEXT NOT NULL,
    column_name TEXT,
    counts JSONB NOT NULL,
    why TEXT NOT NULL,
    until DATE,
    accepted_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    accepted_by TEXT NOT NULL,
    reopened_at TIMESTAMPTZ,
    reopened_by TEXT,
    CONSTRAINT accepted_findings_counts CHECK (jsonb_typeof(counts) = 'object' AND counts <> '{}'),
    CONSTRAINT accepted_findings_why CHECK (why ~ '[^[:space:]]' AND length(why) <= 500),
    CONSTRAINT accepted_findings_reopened CHECK ((reopened_at IS NULL) = (reopened_by IS NULL))
);
CREATE UNIQUE INDEX accepted_findings_in_force ON ingest.accepted_findings (table_name, check_name, coalesce(column_name, ''))
    WHERE reopened_at IS NULL;
COMMENT ON TABLE ingest.accepted_findings IS
    'What somebody has accepted of what checks find (daybreak checks accept). One that is reopened or replaced stays, as history.';
COMMENT ON COLUMN ingest.accepted_findings.table_name IS 'The table whose finding it is.';
COMMENT ON COLUMN ingest.accepted_findings.check_name IS 'The check that found it.';
COMMENT ON COLUMN ingest.accepted_findings.column_name IS 'Of this column only; NULL for all that the check found.';
COMMENT ON COLUMN ingest.accepted_findings.counts IS
    'How many of each kind were accepted, by the kind''s name in the check. More than that, or another kind, is a finding again.';
COMMENT ON COLUMN ingest.accepted_findings.why IS 'The reason, as a person wrote it. It must not hold a personal value: analysts read it.';
COMMENT ON COLUMN ingest.accepted_findings.until IS 'The last day, in UTC, on which it is accepted; NULL for no end.';
COMMENT ON COLUMN ingest.accepted_findings.accepted_by IS 'The account that accepted it.';
COMMENT ON COLUMN ingest.accepted_findings.reopened_at IS 'When it was reopened, or replaced by another; NULL while it is in force.';
COMMENT ON COLUMN ingest.accepted_findings.reopened_by IS 'The account that did so.';
COMMENT ON INDEX ingest.accepted_findings_in_force IS 'One at a time for a finding.';

SELECT audit.watch('ingest.accepted_findings');
COMMENT ON COLUMN audit.changes.table_name IS
    'The table in schema public, or accepted_findings; the dropped partition for RETENTION; ''users'' for a search, which is for people of both kinds.';
