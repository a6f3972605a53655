"""A prompt and its completion, each a text or a list of messages, as TRL has them."""

from paceline.data.formats.row_format import Messages, Row, RowFormat, message, required


def _messages(row: Row) -> Messages:
    prompt, completion = required(row, "prompt"), required(row, "completion")
    before = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
    after = [{"role": "assistant", "content": completion}] if isinstance(completion, str) else completion
    return [message(turn.get("role"), turn.get("content")) for turn in [*before, *after]]


FORMAT = RowFormat("prompt-completion", ("prompt", "completion"), _messages)
