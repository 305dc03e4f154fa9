"""Synthetic exports: files like the real ones, about people who do not exist.

``generate_export`` is the only thing to use from outside. Made for demonstrations, tests and
benchmarks: any size in constant memory, the same bytes for the same seed, and, on request, with a
known number of every fault that real exports have.
"""

from __future__ import annotations

from daybreak_pipeline.generator.export import generate_export

__all__ = ["generate_export"]
