"""Ways from an exam to 1 mm volumes, one per file behind one boundary."""
