"""What is left of exceptions of Keras and TensorFlow in messages."""

from __future__ import annotations

import pytest

from model.formats.files import in_one_line

IN_USER_CODE = """in user code:

    File "/venv/keras/layers/x.py", line 3, in call  *
        return y

    ValueError: the sentence that matters
"""
IN_KERAS = """Exception encountered when calling Functional.call().

\x1b[1mthe sentence that matters\x1b[0m

Arguments received by Functional.call():
  • inputs=tf.Tensor(shape=(None, 1), dtype=float32)
"""
IN_TENSORFLOW = """Graph execution error:

Detected at node Cholesky defined at (most recent call last):
<stack traces unavailable>
the sentence that matters
\t [[{{node Cholesky}}]] [Op:__inference_call_12]"""
WHILE_LOADING = """Error when deserializing class 'Lambda' using config={'code': '4wEAAAA'}.

Exception encountered: the sentence that matters"""


@pytest.mark.parametrize(
    "text",
    [
        *(IN_USER_CODE, IN_KERAS, IN_TENSORFLOW, WHILE_LOADING),
        "{{function_node __wrapped__Cholesky}} the sentence that matters [Op:Cholesky]",
        "the sentence that matters Full object config: {'a': 'very long'}",
        "the sentence\n  that matters",
    ],
)
def test_the_sentence_that_matters_is_left(text: str):
    assert in_one_line(ValueError(text)) == "the sentence that matters"


def test_marshalled_code_is_left_out():
    assert in_one_line(ValueError(f"cannot read {'4wEAAAAC' * 20}==")) == "cannot read"


def test_an_exception_without_a_text_is_named():
    assert in_one_line(KeyError()) == "KeyError"


def test_a_long_text_is_cut():
    line = in_one_line(ValueError("many words " * 40))
    assert len(line) == 200
    assert line.endswith("…")
