"""Tags of scores: each names its extractor and its protocol. Imports no JAX.

`eval/digits/train-all-1000/frechet_distance`; versions up to 0.2.0 wrote `eval/frechet_distance`
while training.
"""

EVAL = 'eval'


def score_group(extractor: str, protocol: str, *more: str) -> str:
    """The tag of a group of scores, to which a slash and a name are added.

    Args:
        extractor, protocol: their names; slashes of a protocol become dashes.
        more: further parts, of scores that were taken after the training.
    """
    return '/'.join([EVAL, extractor, protocol.replace('/', '-'), *more])


def score_name(tag: str) -> str | None:
    """The name of the score if a training wrote this tag, otherwise None."""
    first, *others = tag.split('/')
    return others[-1] if first == EVAL and len(others) in (1, 3) else None
