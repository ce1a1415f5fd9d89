"""How good methods are: truth, comparisons, tables and pages."""
