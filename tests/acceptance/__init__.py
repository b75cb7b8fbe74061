"""Real processes and real servers, as an operator sees them."""
