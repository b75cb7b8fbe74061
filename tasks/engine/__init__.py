"""What moves tasks: dispatcher, workers, sweeper and the leader's lease, around stock Dramatiq."""
