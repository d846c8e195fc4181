"""Line numbers in the layouts that TOML allows."""

from worldswitch.text.locate import line_of, locate

TEXT = '''\
# 1
a = 1  # 2
"linux-6.14".'x y'.z = 2  # 3

[t]  # 5
u.v = 1  # 6
long = """
[not.a.table]
""" # 9
inline = { x = 1, "y.z" = { w = [2] } }  # 10
array = [  # 11
  1, 2,  # 12

  # 14
  [3,  # 15
   4], "]",  # 16
]
[[t.list]]  # 18
k = 1  # 19
[t.list.sub]  # 20
k = 1  # 21
[[t.list]]  # 22
  [[t.list.inner]]  # 23
  [[t.list.inner]]  # 24
[late.one]  # 25
[late]  # 26
'''


def test_lines() -> None:
    assert locate(TEXT) == {
        ("a",): 2,
        ("linux-6.14",): 3,
        ("linux-6.14", "x y"): 3,
        ("linux-6.14", "x y", "z"): 3,
        ("t",): 5,
        ("t", "u"): 6,
        ("t", "u", "v"): 6,
        ("t", "long"): 7,
        ("t", "inline"): 10,
        ("t", "inline", "x"): 10,
        ("t", "inline", "y.z"): 10,
        ("t", "inline", "y.z", "w"): 10,
        ("t", "inline", "y.z", "w", 0): 10,
        ("t", "array"): 11,
        ("t", "array", 0): 12,
        ("t", "array", 1): 12,
        ("t", "array", 2): 15,
        ("t", "array", 2, 0): 15,
        ("t", "array", 2, 1): 16,
        ("t", "array", 3): 16,
        ("t", "list"): 18,
        ("t", "list", 0): 18,
        ("t", "list", 0, "k"): 19,
        ("t", "list", 0, "sub"): 20,
        ("t", "list", 0, "sub", "k"): 21,
        ("t", "list", 1): 22,
        ("t", "list", 1, "inner"): 23,
        ("t", "list", 1, "inner", 0): 23,
        ("t", "list", 1, "inner", 1): 24,
        ("late",): 26,
        ("late", "one"): 25,
    }


def test_the_nearest_line() -> None:
    lines = locate(TEXT)
    assert line_of(lines, ("t", "array", 9, "x")) == 11
    assert line_of(lines, ("t", "list", 1, "k")) == 22
    assert line_of(lines, ("nothing",)) == 0


def test_keys_are_told_apart_by_what_they_spell() -> None:
    assert locate('"\\u0061.b" = 1\na."b" = 2\n') == {("a.b",): 1, ("a",): 2, ("a", "b"): 2}
