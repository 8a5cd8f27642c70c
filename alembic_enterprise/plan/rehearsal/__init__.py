"""Migrations run on a shadow, statement by statement."""
