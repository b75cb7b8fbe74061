"""Private servers for one machine: finds, starts, supervises and stops them, with nothing to install by hand."""
