"""Programs: instruction texts, and the flat code the processor runs."""
