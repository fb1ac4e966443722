from snjax.runs.config_file import flatten
from snjax.runs.nested import nested


def test_leaves_are_nested_by_path():
    tree = {'a': {'b': 1, 'c': {'d': 2}}, 'e': 3}
    leaves = {tuple(key.split('.')): value for key, value in flatten(tree).items()}
    assert leaves == {('a', 'b'): 1, ('a', 'c', 'd'): 2, ('e',): 3}
    assert nested(leaves) == tree
    assert nested({(): 4}) == 4
    assert nested({}) == {}
