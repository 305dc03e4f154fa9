"""The last module that the server of ``commands`` imports: what is there by then is never garbage.

Python would look through all of Dagster again and again in every command that is forked, and copy its memory with it.
"""

from __future__ import annotations

import gc

gc.collect()
gc.freeze()
