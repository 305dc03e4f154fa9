"""The data-quality report: what the ledger and the checks know, as one page. Independent of Dagster."""
