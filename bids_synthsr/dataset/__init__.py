"""The only place that knows files."""
