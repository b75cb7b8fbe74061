"""An import that continues where it stopped, however its worker ends."""
