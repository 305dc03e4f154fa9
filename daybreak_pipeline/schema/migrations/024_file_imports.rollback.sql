-- Takes back 024_file_imports.
DROP VIEW ingest.file_imports;
