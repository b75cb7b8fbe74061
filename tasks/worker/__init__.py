"""What runs in a worker process, and the supervisor that starts it: claim, run, complete."""
