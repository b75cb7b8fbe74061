"""The worker process: claims tasks, runs them and writes their outcomes; and the supervisor that starts it."""
