"""Entry paths: the ordered host instructions and kernel calls of one hypervisor's world switch, as data files.

``listing``    the assembly-like text of a path, line by line
``model``      a path, and reading it from its TOML file
``catalogue``  the shipped paths by name; names and files are interchangeable
``data/``      the shipped paths
"""
