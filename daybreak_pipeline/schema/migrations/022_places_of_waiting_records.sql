-- A record that waits in quarantine has a place in the order, too (ADR 10): an older one that loads, or is refused as well,
-- must not take it away.

ALTER TABLE ingest.quarantine
    ADD COLUMN source_updated_at TIMESTAMPTZ,
    ADD COLUMN tx_commit_time TIMESTAMPTZ,
    ADD COLUMN fivetran_synced TIMESTAMPTZ;
COMMENT ON COLUMN ingest.quarantine.source_updated_at IS 'The record''s updated_at; NULL where it had none that can be.';
COMMENT ON COLUMN ingest.quarantine.tx_commit_time IS 'The record''s tx_commit_time.';
COMMENT ON COLUMN ingest.quarantine.fivetran_synced IS 'The record''s _fivetran_synced.';
