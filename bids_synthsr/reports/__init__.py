"""Figures and pages that show what happened to an exam."""
