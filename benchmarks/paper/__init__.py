"""The paper's tables and figure, on simulated annotators: `python -m benchmarks.paper`."""
