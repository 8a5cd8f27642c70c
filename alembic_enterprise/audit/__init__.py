"""Audit columns and trails: who changed what, when and for whom, kept by the database itself."""
