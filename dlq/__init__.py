"""Dead letters: what died, why, and what an operator did about it."""
