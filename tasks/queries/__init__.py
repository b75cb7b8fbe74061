"""What pages and doors ask of the database: they read, lock nothing and are bounded in what they cost."""
