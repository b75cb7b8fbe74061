"""Dead letters: the deaths of tasks, their reasons, and how operators resolved them."""
