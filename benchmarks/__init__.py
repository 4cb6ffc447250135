"""Speed measured against peers: `python -m benchmarks NAME`."""
