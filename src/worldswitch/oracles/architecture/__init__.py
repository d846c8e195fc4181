"""The oracle ``architecture``: see ``oracle``."""
