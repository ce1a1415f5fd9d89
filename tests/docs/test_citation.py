"""CITATION.cff names this version, and papers as the methods text cites them."""

import json
from pathlib import Path

import yaml

from bids_synthsr import __version__

ROOT = Path(__file__).resolve().parents[2]


def test_citation_is_that_of_this_version():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text(encoding='utf-8'))
    assert str(citation['version']) == __version__
    assert citation['license'] == 'Apache-2.0'


def test_papers_are_those_of_the_methods_text():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text(encoding='utf-8'))
    file = ROOT / 'bids_synthsr/data/report/references.json'
    known = {entry['doi']: entry['text'] for entry in json.loads(file.read_text()).values()}
    for paper in citation['references']:
        assert paper['title'] in known[paper['doi']] and str(paper['year']) in known[paper['doi']]
        for author in paper['authors']:
            assert author.get('family-names', '') in known[paper['doi']]
