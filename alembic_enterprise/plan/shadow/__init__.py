"""Databases like the live one, without its rows, and migrations run on them."""
