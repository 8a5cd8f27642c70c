"""A release review: what a change of the database would do, and to whom."""
