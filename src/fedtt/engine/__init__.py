"""Engines: what runs a round, and what a config becomes before it can."""
