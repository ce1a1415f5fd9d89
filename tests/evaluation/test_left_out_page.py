"""The page of real exams: a summary by contrast and method."""

from bids_synthsr.evaluation.left_out_page import summarise_agreement, write_left_out_page
from bids_synthsr.evaluation.results import Result


def test_summary_puts_t1w_first_and_takes_medians(tmp_path):
    def result(left_out, value, **parts):
        measures = {'correlation': value, 'l1': 0.1, 'nmi': value / 2}
        return Result('01', '', 'tv', 'x', 'axial', 3, 3, measures, tmp_path, left_out, parts)

    t1w = [result('acq-a_T1w', v, brain={'correlation': v / 10}) for v in (1, 2, 6)]
    rows = summarise_agreement([result('FLAIR', 0.1), *t1w, result('T1w', 2)])
    assert [(row.contrast, row.count) for row in rows] == [('T1w', 4), ('FLAIR', 1)]
    assert (rows[0].correlation, rows[0].least, rows[0].nmi) == (2, 1, 1)
    assert (rows[0].brain, rows[1].brain) == (0.2, None)


def test_page_shows_every_scan_and_what_failed(tmp_path):
    measures = {'correlation': 0.9, 'l1': 0.1, 'nmi': 0.2}
    results = [
        Result('01', session, 'tv', 'T2w', 'axial', 3, 3, measures, tmp_path / 'no.jpg', 'T1w')
        for session in ('', '2')
    ]
    page = write_left_out_page(results, ['sub-01, load: broken'], tmp_path / 'page.html')
    text = page.read_text()
    assert 'In 2 exams' in text and 'sub-01_ses-2' in text and 'sub-01, load: broken' in text
