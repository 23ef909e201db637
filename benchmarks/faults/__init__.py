"""Faults against the real service: nothing may be lost, and nothing done twice.

python -m benchmarks.faults [--times 5] [--faults training_killed,redis_flushed] [--json] [--out DIR]
"""
