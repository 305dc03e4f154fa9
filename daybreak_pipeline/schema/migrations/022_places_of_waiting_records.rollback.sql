-- Takes back 022_places_of_waiting_records.

ALTER TABLE ingest.quarantine
    DROP COLUMN source_updated_at,
    DROP COLUMN tx_commit_time,
    DROP COLUMN fivetran_synced;
