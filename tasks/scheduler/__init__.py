"""The scheduler process: leadership, dispatcher, settler, cron, operation runner, sweeper and pruner, each a loop."""
