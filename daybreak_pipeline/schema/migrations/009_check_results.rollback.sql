-- Takes back 009_check_results: the history of checks goes.

DROP TABLE ingest.check_results;
