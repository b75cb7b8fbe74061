"""An import that goes on where it stood, whatever ends its worker."""
