"""Results as text for people.

==============  =======================================================================
``terminal``    how wide the output may be, and colours
``fold``        repeated steps of a long run folded into one line
``align``       several runs side by side: the same landmark on the same line
``timeline``    the timeline: one line a step
``outcome``     what follows it: exits, findings, expectations, differences
``listing``     an entry path: the table of all of them, and the listing of one
``reference``   ``docs/format.md`` and the JSON Schemas, generated
==============  =======================================================================
"""
