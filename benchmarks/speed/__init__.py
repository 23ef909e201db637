"""How fast the service is beside the limit of the machine or the best peer: see `python -m benchmarks.speed --help`."""
