"""Private servers for one machine: found, started, supervised and stopped, with nothing to install by hand."""
