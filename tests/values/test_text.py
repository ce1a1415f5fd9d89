"""Foreign text becomes one plain line."""

from hypothesis import given
from hypothesis import strategies as st

from bids_synthsr.values.text import MAX_LENGTH, plain_text, plain_value


@given(st.text(alphabet=st.characters(codec=None)))
def test_any_text_becomes_one_line_that_utf8_holds(text):
    plain = plain_text(text)
    assert plain.isprintable()
    assert len(plain.splitlines()) <= 1 and len(plain) <= MAX_LENGTH
    plain.encode('utf-8')


def test_control_sequences_are_taken_out():
    assert plain_text('a\x1b[31mb\tc\nd\u202ee\ud800') == 'a [31mb c d e '


def test_words_of_other_scripts_stay():
    assert plain_text('Schädel 头 голова') == 'Schädel 头 голова'


def test_long_text_is_cut():
    assert len(plain_text('x' * 10**6)) == MAX_LENGTH


def test_values_are_cleaned_at_every_depth():
    assert plain_value({'a\n': ['b\x00', {'c': 1.5}]}) == {'a ': ['b ', {'c': 1.5}]}


def test_deep_values_are_cut():
    value = 0
    for _ in range(100):
        value = [value]
    assert '[[[[[[[[None]]]]]]]]' in str(plain_value(value))
