"""Code as it is written for stock Dramatiq runs here with the same meaning."""
