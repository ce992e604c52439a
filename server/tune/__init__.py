"""`python -m server tune MODEL`: tries settings under load, and says which are worth having."""
