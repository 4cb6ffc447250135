"""The page of `python -m jaxcolor gui`: pictures coloured in a browser, on this machine alone."""
