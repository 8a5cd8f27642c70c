"""The scheduled job, written down for cron, systemd, Kubernetes, GitHub, Airflow and pg_cron."""
