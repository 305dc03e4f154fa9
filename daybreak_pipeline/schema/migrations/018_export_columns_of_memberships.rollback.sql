-- Takes back 018_export_columns_of_memberships.

ALTER TABLE memberships DROP COLUMN _export_columns_encrypted;
