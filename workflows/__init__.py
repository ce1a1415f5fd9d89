"""Workflows: which step follows which, from a data set to its exams."""
