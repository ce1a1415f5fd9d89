import json
import re
from importlib.resources import files

import pytest

from bids_synthsr.methods.catalogue import METHODS
from bids_synthsr.reports.boilerplate import (
    DISTRIBUTIONS,
    MethodFacts,
    methods_text,
    summary_text,
)
from bids_synthsr.settings import FIELDS_OF_VIEW

SOURCE = files('bids_synthsr') / 'data' / 'report' / 'references.json'
REFERENCES = json.loads(SOURCE.read_text(encoding='utf-8'))
VERSIONS = {name: f'9.{number}' for number, name in enumerate(DISTRIBUTIONS.values())}


@pytest.mark.parametrize('method', METHODS)
@pytest.mark.parametrize('fov', FIELDS_OF_VIEW)
@pytest.mark.parametrize('contrasts', [(), ('T1w',), ('T1w', 'FLAIR'), ('T2w', 'T1w', 'FLAIR')])
def test_every_citation_has_its_reference(method, fov, contrasts):
    text = methods_text(MethodFacts(method, contrasts, fov=fov, versions=VERSIONS))
    body, references = text.split('### References')
    assert not re.search(r'[{}@]', text), 'nothing is left unfilled'
    assert '  ' not in body
    cited = [entry for entry in REFERENCES.values() if entry['cite'] in body]
    listed = [entry for entry in REFERENCES.values() if entry['doi'] in references]
    assert cited == listed
    numbers = [int(number) for number in re.findall(r'^(\d+)\. ', references, re.MULTILINE)]
    assert numbers == list(range(1, len(listed) + 1))


def test_every_reference_is_cited_somewhere():
    used = [MethodFacts(method, ('T1w', 'T2w')) for method in METHODS]
    used.append(MethodFacts('synthsr', ('T1w', 'T2w'), used=('T1w', 'T2w')))
    used.append(MethodFacts('auto', ('T1w',), spaces=('MNI152NLin6Asym',)))
    used.append(MethodFacts('tv', ('T1w',), lesions='fill'))
    used.append(MethodFacts('any-exam', ('T1w',), lesions='keep'))
    text = ' '.join(methods_text(facts) for facts in used)
    assert all(entry['doi'] in text for entry in REFERENCES.values())


def test_one_scan_is_not_said_to_be_aligned():
    text = methods_text(MethodFacts('tv', ('FLAIR',)))
    assert 'greedy' not in text
    assert 'one usable scan, FLAIR' in text
    assert 'greedy' in methods_text(MethodFacts('tv', ('FLAIR', 'T2w')))


def test_text_names_scans_versions_weights_and_reason():
    facts = MethodFacts(
        'synthsr',
        ('T2w', 'T1w'),
        used=('T1w',),
        reference_reason='it was asked for',
        weights='net.h5 (SHA-256 0123abcd)',
        versions={'picsl-greedy': '1.4', 'bids_synthsr': '0.1'},
    )
    text = methods_text(facts)
    for words in (
        'bids_synthsr 0.1,',
        'greedy 1.4 (',
        'T2w and T1w',
        'Reference was T2w: it was asked for.',
        'from the T1w by a published SynthSR network',
        'net.h5 (SHA-256 0123abcd)',
    ):
        assert words in text


@pytest.mark.parametrize(
    ('facts', 'words'),
    [
        ({}, 'a T1w, or any scan where there was no T1w. Of several, a T1w came first'),
        ({}, 'above all one for which no contrast agent is named'),
        (
            {'reference': 'FLAIR'},
            '(FLAIR). Of several, it was the one whose coarsest axis was finest.',
        ),
        ({'reference': 'acq=sag'}, 'asked for (acq=sag). Of several, a T1w came first'),
        ({'wanted': ('T1w', 'FLAIR')}, 'Each exam, that is the usable T1w and FLAIR scans of a'),
        ({}, 'The other scans were aligned to the reference by rigid registration'),
        ({'takes_transforms': True}, 'taken where they passed the check. All others were aligned'),
    ],
)
def test_text_of_many_exams_says_what_the_settings_say(facts, words):
    text = methods_text(MethodFacts('tv', **facts))
    assert words in text
    assert 'usable scans:' not in text
    assert ('a T1w, or any scan' in text) is ('reference' not in facts)


@pytest.mark.parametrize(
    ('given', 'is_greedy', 'words'),
    [
        ((), True, 'The other scans were aligned'),
        (('FLAIR',), True, 'The transform of the FLAIR to the reference was given'),
        (('T2w', 'FLAIR'), False, 'The transform of the T2w and FLAIR to the reference was given'),
    ],
)
def test_text_of_an_exam_says_which_transforms_were_given(given, is_greedy, words):
    text = methods_text(MethodFacts('tv', ('T1w', 'T2w', 'FLAIR'), given=given))
    assert words in text
    assert ('greedy' in text) is is_greedy
    assert 'Every fit was checked' in text


def test_text_of_an_exam_says_which_contrasts_were_asked_for():
    wanted = ('T1w', 'FLAIR')
    text = methods_text(MethodFacts('tv', wanted, wanted=wanted))
    assert '2 usable scans of the contrasts asked for (T1w and FLAIR): T1w and FLAIR.' in text
    alone = methods_text(MethodFacts('tv', ('FLAIR',), wanted=wanted))
    assert 'one usable scan of the contrasts asked for (T1w and FLAIR), FLAIR.' in alone


@pytest.mark.parametrize(
    ('facts', 'words'),
    [
        (MethodFacts('tv', ('T1w', 'T2w', 'FLAIR')), 'from 3 scans (T1w, T2w and FLAIR)'),
        (MethodFacts('tv', ('FLAIR',)), 'for each contrast, from the FLAIR, by'),
        (MethodFacts('cubic', ('T2w', 'FLAIR')), 'from the T2w by cubic interpolation'),
        (MethodFacts('synthsr', ('T2w', 'T1w'), ('T1w',)), 'from the T1w by a published'),
        (MethodFacts('tv', ('T1w', 'T2w'), spacing=0.8), 'A volume of 0.8 mm'),
    ],
)
def test_summary_tells_what_was_made_from_what(facts, words):
    assert words in summary_text(facts)


@pytest.mark.parametrize(
    ('outside', 'told'),
    [(('T2w',), 'from the T2w alone'), (('T2w', 'FLAIR'), None), ((), None)],
)
def test_text_tells_what_is_outside_of_the_brain(outside, told):
    scans = ('T2w', 'FLAIR')
    text = methods_text(MethodFacts('any-exam', scans, used=scans, outside=outside))
    assert (told in text) if told else ('Outside of the brain' not in text)
    assert 'from those scans alone' in methods_text(MethodFacts('any-exam'))


@pytest.mark.parametrize(
    ('is_calibrated', 'told'),
    [(True, 'by which they add up to the true volumes of such scans.'),
     (False, 'are sums of their probabilities.'), (None, 'where the weights hold one.')],
)  # fmt: skip
def test_text_tells_whether_volumes_are_calibrated(is_calibrated, told):
    assert told in methods_text(MethodFacts('any-exam', is_calibrated=is_calibrated))
