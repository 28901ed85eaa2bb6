"""How each kind of step does its work: one module for each."""
