"""A BIDS App that turns every clinical brain MRI exam into one 1 mm T1w volume."""

__version__ = '0.1.0'
