"""The scheduler process: leadership, dispatcher, sweeper and pruner, each a loop in a thread."""
