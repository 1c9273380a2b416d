"""How the demonstration models came about: the text they learnt from, made from a seed, and their training."""
