"""How a network is computed, behind one interface."""
