"""A small shop whose big tables live in partitions."""
