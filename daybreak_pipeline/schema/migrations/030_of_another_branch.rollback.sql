-- Takes back 030_of_another_branch.
SELECT;
