"""What all doors share."""
