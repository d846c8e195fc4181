"""TOML as text: read with line numbers, written in one canonical form, comments kept.

Knows nothing of scenarios or paths: a document is plain dicts and lists, and what is particular to a kind of file
comes in as a :class:`~worldswitch.text.write.Style`.

``read``      a file or a string to a :class:`~worldswitch.text.read.Document`; all bad input is an ``InputError``
``syntax``    what is wrong with a text that is not TOML, in one line
``locate``    the line of every key, table and array element
``comments``  the comments, each with the key it belongs to
``write``     data and comments to the canonical text
``spell``     the spelling of one key or scalar
``scan``      the scanner under ``locate``, ``comments`` and ``syntax``
"""
