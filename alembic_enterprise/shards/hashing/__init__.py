"""PostgreSQL's hash functions of partition keys, in Python."""
