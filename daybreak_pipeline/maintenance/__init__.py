"""What keeps a database and its home small and quick: vacuum, indexes, and dropping what need not be kept any longer.

Each step says what it freed; ``run`` has their order. What Dagster keeps is pruned in ``orchestration.run_history``.
"""
