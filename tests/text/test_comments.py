"""Whose a comment is."""

from worldswitch.text.comments import Comments, Note, comments

TEXT = """\
# Licence

# The title
format = 1  # one

# about the processor
[cpu]  # the processor
# apart
# together

svme = true
list = [  # opens
    1,  # first
    # before the second
    2 # second
    , 3,
    # closes

    # the list
]  # whole
[[event]]  # an event
[[event]]
at = { x = [  # inside
1 ] }  # inline
# the

# end
"""


def test_every_comment_has_its_place() -> None:
    assert comments(TEXT) == Comments(
        head=("# Licence",),
        notes={
            ("format",): Note(before=("# The title",), after="# one"),
            ("cpu",): Note(before=("", "# about the processor"), after="# the processor"),
            ("cpu", "svme"): Note(before=("# apart", "# together", "")),
            ("cpu", "list", 0): Note(before=("# opens",), after="# first"),
            ("cpu", "list", 1): Note(before=("# before the second",), after="# second"),
            ("cpu", "list"): Note(last=("# closes", "", "# the list"), after="# whole"),
            ("event", 0): Note(after="# an event"),
            ("event", 1, "at", "x", 0): Note(before=("# inside",)),
            ("event", 1, "at"): Note(after="# inline"),
        },
        end=("# the", "", "# end"),
    )


def test_only_comments() -> None:
    assert comments("\n\n# a\n\n\n\n# b") == Comments(end=("# a", "", "# b"))
    assert comments("\n") == Comments()


def test_space_after_a_comment_is_no_part_of_it() -> None:
    assert comments("# a \t\na = 1  #  b  \n") == Comments(notes={("a",): Note(before=("# a",), after="#  b")})


def test_a_hash_in_a_string_is_no_comment() -> None:
    text = 'a = \'#\' # 1\nb = \'\'\'\n# no\n\'\'\'\nc = "\\"#"\n"#" = ["""#\n\\"""#"""] # 2\n'
    assert comments(text).notes == {("a",): Note(after="# 1"), ("#",): Note(after="# 2")}


def test_a_lone_comma_keeps_both_comments() -> None:
    assert comments("a = [1 # one\n, # comma\n2]").notes == {
        ("a", 0): Note(after="# one"),
        ("a", 1): Note(before=("# comma",)),
    }


def test_renamed_keys_take_their_comments_along() -> None:
    found = comments("# a\n104 = 1  # b\n# c\n0x68 = 2  # d\n")
    renamed = found.renamed(lambda path: ("0x68",) if path == ("104",) else path)
    assert renamed.notes == {("0x68",): Note(before=("# a", "# b", "# c"), after="# d")}
