"""Planted defects, and whether the fuzzer finds them.

A fuzzer that finds nothing proves something only if it would have found something. Each mutant is one small defect in an
entry path, the kernel model, a rule of the processor model, or L0's side of nested virtualisation, with the oracle that
should object and the reason why. ``worldswitch mutants`` runs the fuzzer against each. Where no oracle may object, the
mutant says why.

``model``      what a mutant is
``planting``   how a rule is turned into a wrong one, and always restored
``registry``   all of them: ``paths``, ``kernel``, ``nested``, and the processor's ``shadow``, ``events``, ``switch``,
               ``delivery``
``hunt``       the fuzzer on one mutant: caught after how many executions, by which oracle
``report``     the results as text, JSON and a document
"""
