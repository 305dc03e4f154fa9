-- Takes back 029_of_another_branch.
SELECT;
