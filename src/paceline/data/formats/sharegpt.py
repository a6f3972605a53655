"""ShareGPT: a list of {from, value}."""

from paceline.data.formats.row_format import Messages, Row, RowFormat, list_of_turns, message

_ROLES = {"human": "user", "gpt": "assistant"}


def _messages(row: Row) -> Messages:
    conversation = []
    for turn in list_of_turns(row, "conversations"):
        role = turn.get("from", turn.get("role"))
        conversation.append(message(_ROLES.get(str(role), role), turn.get("value", turn.get("content"))))
    return conversation


FORMAT = RowFormat("sharegpt", ("conversations",), _messages)
