"""Indexes: what the live catalog advises, and changes of large tables that stop nobody."""
