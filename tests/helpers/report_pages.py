"""Workdirs as runs leave them, and what a report's page holds, for tests of the report."""

import html.parser
import json
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from configs import sngan_digits
from snjax.runs import config_file, images, scores_file
from snjax.runs.scores_file import Row

MANIFEST = {
    'protocol': 'train/all/500',
    'real': 'digits, train',
    'real_count': 1797,
    'fake_count': 500,
    'extractor': 'digits',
    'checkpoint': 'last',
    'weights': 'ema',
    'batch_statistics': 'running',
    'eval_seed': 0,
}


def make_run(folder: Path, config: ConfigDict, *, step: int, distance: float | None = None, **more):
    """A workdir as a run leaves it, with a falling loss, a grid at steps 0 and `step`, and a score."""
    config = config.copy_and_resolve_references()
    config.update_from_flattened_dict(more)
    config_file.check_config(folder, config.to_dict())
    lines = [{'step': s, 'wall_time': 1.0, 'train/dis_loss': 2.0 - s / step} for s in (1, step)]
    (folder / 'metrics.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    (folder / 'checkpoints' / str(step)).mkdir(parents=True)
    for at in (0, step):
        grid = np.full((18, 18, 1), config.seed * 50 % 256, np.uint8)
        images.save_png(folder / 'samples' / f'{at:08d}.png', grid)
    if distance is not None:
        scores = {'frechet_distance': distance, 'classifier_score': 10 / distance}
        row = Row(scores, MANIFEST | {'step': step, 'seed': config.seed})
        scores_file.add(folder / 'scores.json', [row])


def digits(num_steps: int = 100) -> ConfigDict:
    config = sngan_digits.get_config()
    config.num_steps = num_steps
    return config


class Outline(html.parser.HTMLParser):
    """What a page holds: tables as rows of texts, attributes of tags; fails where tags do not
    match.
    """

    VOID = ('meta', 'img', 'path', 'circle', 'rect', 'br', 'wbr', 'link')

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.tables = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == 'table':
            self.tables.append([])
        elif tag == 'tr':
            self.tables[-1].append([])
        elif tag in ('td', 'th'):
            self.tables[-1][-1].append('')

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if 'td' in self.open or 'th' in self.open:
            self.tables[-1][-1][-1] += data

    def table(self, head: str) -> list[dict[str, str]]:
        """The rows, by head, of the first table that has this head."""
        for rows in self.tables:
            for i, heads in enumerate(rows):
                if head in heads:
                    return [dict(zip(heads, row, strict=True)) for row in rows[i + 1 :]]
        raise AssertionError(f'no table has {head!r}')


def outline(folder: Path) -> Outline:
    return Outline((folder / 'report.html').read_text())
