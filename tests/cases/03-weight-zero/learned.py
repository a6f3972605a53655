"""Prints what is learned of the first example of each file."""

import sys

from paceline.config.data import Data
from paceline.data.chat import load_chat
from paceline.data.tokens import load_tokens

chat = load_chat("embedded")
for source in sys.argv[1:]:
    ids, mask = load_tokens(Data(source=source), chat).example(0)
    print(chat.tokenizer.decode(ids[mask == 1]))
