"""Kinds of models as people build them, by family; each is compared in every format it has."""
