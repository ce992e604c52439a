"""The comparison: who takes part, how each is started and measured, and what is made of it."""
