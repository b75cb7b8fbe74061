"""How hints travel: one small class for each broker, behind one interface."""
