"""Extract, transform and load, in parallel: tasks that depend on others."""
