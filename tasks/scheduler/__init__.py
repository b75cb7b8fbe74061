"""What runs in the scheduler process: leadership, dispatcher, sweeper, pruner."""
