"""What a project needs for alembic-enterprise: facts are collected, then judged by pure checks."""
