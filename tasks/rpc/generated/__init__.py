"""Written by ``make proto``; do not edit."""
