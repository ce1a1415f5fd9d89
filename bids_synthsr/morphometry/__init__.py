"""Measures of segmentations: volumes of structures, and how far they can be trusted."""
