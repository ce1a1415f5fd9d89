"""One scan brought to another: what finds a transform, and what checks it."""
