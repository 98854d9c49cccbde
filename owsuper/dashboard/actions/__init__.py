"""What people do to runs and workers: each action is confirmed, logged, and answered."""
