-- Takes back 017_applied_files: nothing tells what the migrations were when they were applied.

DROP TABLE migrations.applied_files;
