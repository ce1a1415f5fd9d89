"""What is measured on segmentations."""
