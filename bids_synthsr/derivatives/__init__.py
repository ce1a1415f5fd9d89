"""The outputs: their places, names, sidecars and tables, and records of the work."""
