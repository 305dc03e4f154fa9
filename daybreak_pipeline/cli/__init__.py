"""The ``daybreak`` command: one module a command group. Decides nothing about data; prints others' results."""
