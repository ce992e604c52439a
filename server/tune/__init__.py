"""`python -m server tune MODEL`: tests settings under load and recommends the best ones."""
