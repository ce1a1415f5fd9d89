"""A run: find, plan, process, close. Called by the doors and by Python."""
