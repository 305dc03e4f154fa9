-- Takes back 028_of_another_branch.
SELECT;
