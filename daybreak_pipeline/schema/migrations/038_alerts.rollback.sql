-- Takes back 036_alerts: who was alerted when is forgotten.

DROP TABLE ingest.alerts;
