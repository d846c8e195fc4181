"""Scenarios: everything one deterministic execution needs, and the files they are kept in.

==============  ==================================================================================
``kinds``       kinds of value: how each is spelled in a file, checked, and described in the schema
``fields``      every field of a scenario, with its kind, what it sets, and its rule
``places``      arrival points: ``vmrun-1``, ``guest+2``, ``sti@2``
``model``       the scenario itself
``read``        from a TOML document, with errors that name file, line and field
``write``       to canonical text
``expect``      ``[expect]``: which result makes the file pass
``schema``      JSON Schema, generated
==============  ==================================================================================
"""
