"""Exhaustive exploration of the world switch: every scenario of a bounded space, up to states that are the same.

``values``    values that are still open, and who asks for them
``space``     what may be chosen: fields, gates, intercepts, guest instructions, events, rounds
``choices``   one choice, and the scenario that several make
``opened``    what is open in a machine at its start
``passages``  events whose place has no name
``watch``     one run in which every open choice is asked for when the machine first needs it
``identity``  what makes two states the same
``explore``   the search, in the order of size
``reached``   what the runs reached: the proof that a check is not vacuous
``driver``    all parts on several paths
``report``    the verdict in words and as JSON
``compare``   reduction measured against the enumeration
``truth``     reachable states and transitions
``measure``   a fuzzer measured against them
"""
