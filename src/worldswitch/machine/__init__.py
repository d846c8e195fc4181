"""A scenario on an entry path made executable, and the loop that runs it.

``compile``  a scenario and a path become a plan: code, settings, arrivals
``machine``  one processor, one kernel, one plan: the run loop
``software`` what ``set FIELD=VALUE`` does
``run``      the finished run, as oracles and reports read it
``trace``    the rows of the timeline, recorded only when somebody looks
"""
