-- The newest alerts, and whom they reached.
SELECT at, run_id, message, told, not_told FROM ingest.alerts
WHERE at >= %(since)s AND at <= %(at)s ORDER BY at DESC, id DESC LIMIT %(alerts)s;
