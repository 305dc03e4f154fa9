-- Takes back 009_reserved.

DROP SCHEMA reserved_009;
