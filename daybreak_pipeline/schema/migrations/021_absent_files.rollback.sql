-- Takes back 021_absent_files: nothing says which tables lack their file; the next import without one notes it again.

DROP TABLE ingest.absent_files;
