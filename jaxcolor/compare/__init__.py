"""The comparison of runs on the same pictures, as one HTML file."""
