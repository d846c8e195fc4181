"""The facts the model rests on, and who implements, tests or leaves out each of them.

``facts.md``      the facts: rules (S2-70), conformance rows (T-120), invariants (I-04), the table of model options
``facts``         ``facts.md`` read into values
``ids``           how source text cites a fact, ranges included
``citations``     every citation in the package and, in a checkout, in the tests and scenarios
``left_out``      which rules are not modelled, and why (``left_out.toml``)
``evidence``      per fact: the code that implements it, the tests that test it
``explain``       one fact for a person or as JSON
``table``         ``docs/rules.md``, generated
"""
