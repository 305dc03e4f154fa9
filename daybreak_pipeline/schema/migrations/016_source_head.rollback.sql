-- Takes back 016_source_head: every import waits for the whole fingerprint of a file of the same size.

ALTER TABLE ingest.imports DROP COLUMN source_head_sha256;
