-- What the server was like, by time: growth, rates and "days until the disk is full" need more than one look.

CREATE TABLE ingest.server_measurements (
    at TIMESTAMPTZ NOT NULL,
    metric TEXT NOT NULL,
    labels JSONB NOT NULL DEFAULT '{}',
    value DOUBLE PRECISION NOT NULL,
    id BIGINT GENERATED ALWAYS AS IDENTITY UNIQUE,
    CONSTRAINT server_measurements_pkey PRIMARY KEY (metric, labels, at)
);
CREATE INDEX server_measurements_at ON ingest.server_measurements USING brin (at);
COMMENT ON TABLE ingest.server_measurements IS
    'Measurements of the server that growth and rates are computed from, and which thresholds were crossed: some fifty rows every ten minutes. Numbers and names only.';
COMMENT ON COLUMN ingest.server_measurements.id IS 'By it old rows are gone through when they are dropped.';
COMMENT ON COLUMN ingest.server_measurements.at IS 'When the server was looked at; the same for all rows of one look.';
COMMENT ON COLUMN ingest.server_measurements.metric IS 'What was measured: a name of daybreak_pipeline/monitoring/metrics.py.';
COMMENT ON COLUMN ingest.server_measurements.labels IS 'Of what it was measured, such as {"table": "public.orgs"}; {} for the server as a whole.';
COMMENT ON COLUMN ingest.server_measurements.value IS 'The number, in the unit that the metric''s name ends with. What the role may not see is left out.';
