"""Measurements: plain scripts, never collected by pytest."""
