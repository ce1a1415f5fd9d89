"""Geometry, resampling, acquisition and intensity of volumes: arrays in, arrays out."""
