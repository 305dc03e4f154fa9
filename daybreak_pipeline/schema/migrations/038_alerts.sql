-- Who was alerted to what, and when: the log has it for weeks only, and nobody looks for it there.

CREATE TABLE ingest.alerts (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    run_id TEXT,
    message TEXT NOT NULL,
    told TEXT[] NOT NULL DEFAULT '{}',
    not_told TEXT[] NOT NULL DEFAULT '{}'
);
CREATE INDEX alerts_at ON ingest.alerts (at DESC);
COMMENT ON TABLE ingest.alerts IS 'Every alert: what it said and whom it reached. Names of tables and checks, and counts; never a value.';
COMMENT ON COLUMN ingest.alerts.run_id IS 'Dagster run that it is about; NULL where it is about the server or its backups.';
COMMENT ON COLUMN ingest.alerts.message IS 'What it said, line by line, without the link.';
COMMENT ON COLUMN ingest.alerts.told IS
    'Who took it: webhook, or the address of a mail. Empty: it is in the log only, as nobody is named in the settings or nobody took it.';
COMMENT ON COLUMN ingest.alerts.not_told IS 'Who did not take it after several tries.';
