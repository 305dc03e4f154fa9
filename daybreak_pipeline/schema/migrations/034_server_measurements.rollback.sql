-- Takes back 034_server_measurements: the history of the server goes.

DROP TABLE ingest.server_measurements;
