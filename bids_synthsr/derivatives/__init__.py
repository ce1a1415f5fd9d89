"""The outputs: their paths, names, sidecars and tables, and records of the work."""
