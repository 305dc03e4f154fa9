-- Takes back 027_launched_by: who launched the imports until now is lost.

ALTER TABLE audit.changes DROP COLUMN launched_by;
