"""Reading the input: data set, scans, weights and other files."""
