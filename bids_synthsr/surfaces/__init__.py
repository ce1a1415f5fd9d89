"""Surfaces by tools of others: found, checked, resumed, and read."""
