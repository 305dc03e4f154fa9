-- Takes back 015_drift: the headers of earlier imports and the recorded structure go.

DROP FUNCTION migrations.record_objects();
DROP FUNCTION migrations.current_objects();
DROP TABLE migrations.objects;
ALTER TABLE ingest.imports DROP COLUMN unknown_values, DROP COLUMN source_columns;
