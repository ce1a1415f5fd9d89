"""The values that travel between layers, and the data files that ship with the package."""
