"""A question and its answer, as texts."""

from paceline.data.formats.pairs import from_pair
from paceline.data.formats.row_format import RowFormat, text_of

FORMAT = RowFormat(
    "question-answer",
    ("question", "answer"),
    lambda row: from_pair(row, text_of(row, "question"), text_of(row, "answer")),
)
