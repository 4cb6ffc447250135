"""How alike pictures look to a trained network: LPIPS, features, and distances between sets."""
